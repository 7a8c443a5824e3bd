// HostileUcxPeer: a peer that speaks UCX and not our protocol sends the corpora of the fuzz targets
// as handshakes, frames and goodbyes; as a stranger, and as a member that knows the connection's
// key. Each is refused or ignored, nothing of it is delivered, and a good peer is served
// afterwards.
//
// Bytes below UCX's active messages are UCX's own to check; it does not (docs/ucx.md).
#ifdef GODWIT_HAVE_UCX

#include <gtest/gtest.h>

#include <string>

#include "fabric/hostile/corpus.h"
#include "fabric/hostile/ucx_raw_peer.h"
#include "fabric/ucx_engine.h"

namespace godwit::fabric::ucx {
namespace {

using namespace std::chrono_literals;
using testing::CorpusEntry;
using testing::UcxRawPeer;

class HostileUcxPeer : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    if (const std::string why = unavailable(GetParam()); !why.empty()) GTEST_SKIP() << why;
  }
  static UcxOptions options() {
    UcxOptions options;
    options.host = "127.0.0.1";
    if (GetParam() == std::string(kRdma)) {
      options.host = rdma_hosts().front();
    } else {
      options.tls = GetParam();
    }
    return options;
  }
  static void expect_good_service(UcxEngine& target) {
    const std::size_t received = target.received;
    UcxEngine good(GetParam());
    auto dialed = good.transport->connect(target.address, UcxEngine::kDc);
    ASSERT_TRUE(dialed);
    ASSERT_TRUE(run_until({&good, &target}, [&] { return (*dialed)->established(); }));
    for (const std::uint32_t size : {100u, 200'000u}) {
      FramePtr frame = good.frame(size, 3);
      ASSERT_EQ((*dialed)->post(frame), SendStatus::sent);
    }
    ASSERT_TRUE(run_until({&good, &target}, [&] { return target.received == received + 2; }));
  }
};

TEST_P(HostileUcxPeer, AStrangerIsNeverBelievedAndAGoodPeerIsServedAfterwards) {
  UcxEngine target(GetParam());
  UcxRawPeer raw(options(), target.address, [&] { target.transport->progress(); });
  for (const CorpusEntry& entry : testing::hostile_corpus()) {
    SCOPED_TRACE(entry.name);
    ASSERT_TRUE(raw.dial());
    const std::size_t before = target.closed.size();
    raw.send_as_stranger(entry);
    // Its connection ends: by the goodbye at the latest.
    const auto end = std::chrono::steady_clock::now() + 10s;
    while (target.closed.size() == before && std::chrono::steady_clock::now() < end) raw.step();
    ASSERT_EQ(target.closed.size(), before + 1);
    ASSERT_TRUE(target.live.empty()) << "a stranger was believed";
    ASSERT_EQ(target.received, 0u);
  }
  raw.hang_up();
  EXPECT_TRUE(run_until({&target}, [&] { return target.clean(); }));
  expect_good_service(target);
}

TEST_P(HostileUcxPeer, AMemberThatBreaksTheProtocolLosesItsConnectionAlone) {
  UcxEngine target(GetParam());
  UcxEngine bystander(GetParam());
  auto dialed = bystander.transport->connect(target.address, UcxEngine::kDc);
  ASSERT_TRUE(dialed);
  ASSERT_TRUE(run_until({&bystander, &target},
                        [&] { return (*dialed)->established() && target.live.size() == 1; }));
  UcxRawPeer raw(options(), target.address, [&] {
    target.transport->progress();
    bystander.transport->progress();
  });
  std::size_t refused = 0;
  for (const CorpusEntry& entry : testing::hostile_corpus()) {
    SCOPED_TRACE(entry.name);
    ASSERT_TRUE(raw.dial());
    const auto key = raw.become_member(UcxEngine::kDc);
    ASSERT_TRUE(key) << "the handshake of the raw peer fails";
    ASSERT_TRUE(run_until({&bystander, &target}, [&] { return target.live.size() == 2; }));
    const std::size_t closed = target.closed.size();
    raw.send_as_member(entry, *key);
    const auto end = std::chrono::steady_clock::now() + 10s;
    while (target.closed.size() == closed && std::chrono::steady_clock::now() < end) raw.step();
    ASSERT_EQ(target.closed.size(), closed + 1);
    EXPECT_EQ(target.closed.back().code, Errc::protocol_error) << target.closed.back().to_string();
    ++refused;
  }
  EXPECT_GT(refused, 50u);
  raw.hang_up();
  // The others' connections were not touched.
  const std::size_t received = target.received;
  FramePtr frame = bystander.frame(100, 1);
  ASSERT_EQ((*dialed)->post(frame), SendStatus::sent);
  EXPECT_TRUE(run_until({&bystander, &target}, [&] { return target.received == received + 1; }));
  EXPECT_TRUE(run_until({&bystander, &target}, [&] { return target.clean(); }));
}

INSTANTIATE_TEST_SUITE_P(Over, HostileUcxPeer, ::testing::Values("tcp", kRdma),
                         [](const auto& each) { return std::string(each.param); });

}  // namespace
}  // namespace godwit::fabric::ucx

#endif
