// The ucx transport of a build without UCX.
#ifndef GODWIT_HAVE_UCX

#include "ucx/ucx_transport.h"

namespace godwit::fabric {

Result<std::unique_ptr<Transport>> make_ucx_transport(TransportContext&, UcxOptions,
                                                      Handshake::Offer) {
  return fail(Errc::not_supported,
              "this build has no UCX: install its development package and configure with "
              "GODWIT_UCX=ON");
}

bool ucx_available() noexcept {
  return false;
}

}  // namespace godwit::fabric

#endif
