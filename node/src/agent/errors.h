// Where coord/'s errors become Godwit's. Pure functions.
#pragma once

#include "godwit/coord/error.h"
#include "godwit/endpoints/agent.pb.h"
#include "godwit/error.h"

namespace godwit::node {

Error to_error(const coord::Error& error, std::string endpoint = {});
endpoints::proto::Failure to_failure(const Error& error);

/// The directory could not be used just now: the same may work later.
bool is_transient(coord::Errc code);

}  // namespace godwit::node
