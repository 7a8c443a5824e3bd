// The verbs transport of a build without rdma-core.
#ifndef GODWIT_HAVE_VERBS

#include "verbs/verbs_transport.h"

namespace godwit::fabric {

Result<std::unique_ptr<Transport>> make_verbs_transport(TransportContext&, VerbsOptions,
                                                        Handshake::Offer) {
  return fail(Errc::not_supported,
              "this build has no rdma-core: install libibverbs-dev and librdmacm-dev and configure "
              "with GODWIT_VERBS=ON");
}

bool verbs_available() noexcept {
  return false;
}

}  // namespace godwit::fabric

#endif
