// The verbs transport as the engine sees it: its factory. Needs no header of rdma-core.
#pragma once

#include <memory>

#include "godwit/error.h"
#include "godwit/fabric/handshake.h"
#include "godwit/fabric/transport.h"
#include "godwit/fabric/verbs_options.h"

namespace godwit::fabric {

/// A transport over RDMA reliable connections, for the calling thread. not_supported when this
/// build has no rdma-core or this machine no RDMA device; invalid_argument for options out of
/// range. `offer` is what handshakes start from (its transport_data is the transport's own).
Result<std::unique_ptr<Transport>> make_verbs_transport(TransportContext& context,
                                                        VerbsOptions options = {},
                                                        Handshake::Offer offer = {});

/// Whether this build has rdma-core.
bool verbs_available() noexcept;

}  // namespace godwit::fabric
