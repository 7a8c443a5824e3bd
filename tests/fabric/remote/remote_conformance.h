// RemoteConformance: the fixture of the tests whose engines are in two processes: `a` here, and one
// in the peer's.
#pragma once

#include <algorithm>
#include <memory>
#include <string>

#include "fabric/remote/remote_peer.h"
#include "fabric/remote/series.h"

namespace godwit::fabric::testing {

using namespace std::chrono_literals;

class RemoteConformance : public ::testing::TestWithParam<TransportFactory> {
 protected:
  void SetUp() override;
  void TearDown() override;

  /// Both engines. False: the test is over, as it failed or as they cannot meet (skipped).
  bool make_engines(const EngineSetup& here = {}, const EngineSetup& there = {});
  /// An engine in a peer's process, also a second one.
  Result<EngineAddress> make_engine(RemotePeer& peer, const EngineSetup& setup = {});

  /// Begins to connect; the address is the peer's engine's.
  Connection* dial();
  /// At once, or by on_closed.
  void expect_unreachable();
  /// Another connection, established on both sides; on_data of `a` adds to `got`.
  bool connect(bool from_here = true);
  /// make_engines() and connect().
  bool join() { return make_engines() && connect(); }

  /// Sends all of it to the peer's link 0, and waits until all has arrived there.
  bool send_all(Outgoing& outgoing);
  bool post_all(Outgoing& outgoing);

  /// While it has connections, ucx watches over them by deadlines (docs/ucx.md).
  bool wakes_by_itself() const { return a->transport().kind() == TransportKind::ucx; }
  /// Waits until the peer's engine sleeps for as long as nothing comes, and returns how often it
  /// has been woken.
  std::uint64_t wait_asleep();
  /// Progresses until the transport lets `a` sleep.
  bool arm();
  /// Sleeps as an engine does, until `done` or the limit; false: it would sleep on.
  template <typename Done>
  bool sleep_until(Done done, std::chrono::milliseconds limit) {
    using Clock = std::chrono::steady_clock;
    const auto end = Clock::now() + limit;
    while (!done()) {
      if (Clock::now() > end) return false;
      if (a->step() != 0 || done() || !a->transport().arm()) continue;
      const auto rest = std::min(end, a->transport().next_deadline()) - Clock::now();
      a->poller().dispatch(std::max(rest, Clock::duration::zero()));
      a->transport().disarm();
    }
    return true;
  }

  /// All frames and buffers that `a` lent out are back.
  bool all_memory_is_home();

  TransportFactory factory = GetParam();
  std::unique_ptr<RemotePeer> peer;
  EngineAddress there;
  std::unique_ptr<TestEngine> a;
  Connection* to_peer = nullptr;  // the last that connect() made
  Series got;

 private:
  void skip(const std::string& reason);
};

}  // namespace godwit::fabric::testing
