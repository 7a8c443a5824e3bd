// The settings of UCX that this transport relies on, each with its reason.
//
// They are set on a configuration object, never in the environment of the host process.
#pragma once

#include <ucp/api/ucp.h>

#include <string>

#include "godwit/error.h"
#include "godwit/fabric/ucx_options.h"

namespace godwit::fabric::ucx {

/// What the options leave open, filled in from the environment or for the host.
struct Choice {
  std::string tls, net_devices, sockaddr_tls_priority;
};
Choice choose(const UcxOptions& options);

/// The caller releases the configuration with ucp_config_release.
Result<ucp_config_t*> make_config(const Choice& choice);

/// The network device that has this numeric address; "all" if none has.
std::string device_of(const std::string& host);

/// Gives the process back the signals that UCX took when it was loaded. Once per process.
void release_signals() noexcept;

}  // namespace godwit::fabric::ucx
