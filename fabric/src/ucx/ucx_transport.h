// The ucx transport as the engine sees it: its factory. Needs no header of UCX.
#pragma once

#include <memory>

#include "godwit/error.h"
#include "godwit/fabric/handshake.h"
#include "godwit/fabric/transport.h"
#include "godwit/fabric/ucx_options.h"

namespace godwit::fabric {

/// A transport over UCX active messages, for the calling thread. not_supported when this build has
/// no UCX; invalid_argument for options that UCX refuses. `offer` is what handshakes start from
/// (its transport_data is the transport's own): tests narrow it.
Result<std::unique_ptr<Transport>> make_ucx_transport(TransportContext& context,
                                                      UcxOptions options = {},
                                                      Handshake::Offer offer = {});

/// Whether this build has UCX.
bool ucx_available() noexcept;

}  // namespace godwit::fabric
