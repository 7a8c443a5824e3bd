// One worker process of the audit: sends, calls, executes, answers, and cuts its own connections,
// all at random from a seed, and writes down every step in its history before it takes the next.
#pragma once

#include "options.h"

namespace audit {

/// Runs to the end; the process's exit status.
int run_worker(const Options& options);

}  // namespace audit
