// The settings of UCX that this transport relies on, each with its reason.
//
// They are set on a configuration object, never in the environment of the host process.
#pragma once

#include <ucp/api/ucp.h>

#include <string>

#include "godwit/error.h"
#include "godwit/fabric/ucx_options.h"

namespace godwit::fabric::ucx {

/// The caller releases the configuration with ucp_config_release.
Result<ucp_config_t*> make_config(const UcxOptions& options, const std::string& host);

/// The network device that has this numeric address; "all" if none has.
std::string device_of(const std::string& host);

/// Gives the process back the signals that UCX took when it was loaded. Once per process.
void release_signals() noexcept;

}  // namespace godwit::fabric::ucx
