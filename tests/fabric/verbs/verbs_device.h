// VerbsDevice: the fixture of tests over a real RDMA device. Skipped where there is none (soft-RoCE
// does: docs/verbs.md).
#pragma once

#ifdef GODWIT_HAVE_VERBS

#include <gtest/gtest.h>

#include "fabric/test_engine.h"
#include "godwit/fabric/rdma_hosts.h"
#include "verbs/verbs_transport.h"
#include "verbs/verbs_transport_impl.h"

namespace godwit::fabric::testing {

/// Of engines that listen at the machine's first device.
inline TransportFactory verbs_factory(VerbsOptions options = {}) {
  return {"verbs", [options](TransportContext& context, const auto& offer) mutable {
            options.host = rdma_hosts().front();
            auto made = make_verbs_transport(context, options, offer.value_or(Handshake::Offer{}));
            EXPECT_TRUE(made.has_value()) << made.error().to_string();
            return made ? std::move(*made) : nullptr;
          }};
}

inline verbs::VerbsTransport& transport_of(TestEngine& engine) {
  return static_cast<verbs::VerbsTransport&>(engine.transport());
}

class VerbsDevice : public ::testing::Test {
 protected:
  void SetUp() override {
    if (rdma_hosts().empty()) GTEST_SKIP() << "this machine has no RDMA device";
    failed_before_ = verbs::failed_releases();
  }
  void TearDown() override { EXPECT_EQ(verbs::failed_releases(), failed_before_); }

 private:
  std::uint64_t failed_before_ = 0;
};

}  // namespace godwit::fabric::testing

#endif
