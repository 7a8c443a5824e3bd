// Everything a program needs.
#pragma once

#include "godwit/endpoint.h"
#include "godwit/error.h"
#include "godwit/grant.h"
#include "godwit/message.h"
#include "godwit/process.h"
#include "godwit/wait.h"
