// A peer that is killed, in each phase of a connection, over UCX's tcp and posix transports.
//
// The peer is this program, started anew with UcxPeer.DISABLED_ChildRun: UCX does not survive a
// fork.
#include <gtest/gtest.h>

#ifdef GODWIT_HAVE_UCX

#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <thread>
#include <utility>

#include "ucx_engine.h"

extern char** environ;

namespace godwit::fabric::ucx {
namespace {

using namespace std::chrono_literals;

constexpr const char* kPhaseVariable = "GODWIT_TEST_UCX_PHASE";
constexpr const char* kTlsVariable = "GODWIT_TEST_UCX_TLS";
constexpr std::uint32_t kLarge = 8u << 20;

void write_all(int fd, const std::string& bytes) {
  for (std::size_t done = 0; done < bytes.size();) {
    const ssize_t wrote = ::write(fd, bytes.data() + done, bytes.size() - done);
    if (wrote <= 0) _exit(1);
    done += static_cast<std::size_t>(wrote);
  }
}

/// The other process; killed at the end in any case.
class Peer {
 public:
  Peer(const std::string& phase, const std::string& tls) {
    int to_us[2], to_it[2];
    if (pipe2(to_us, 0) != 0 || pipe2(to_it, 0) != 0) return;
    setenv(kPhaseVariable, phase.c_str(), 1);
    setenv(kTlsVariable, tls.c_str(), 1);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, to_us[1], 100);
    posix_spawn_file_actions_adddup2(&actions, to_it[0], 101);
    for (const int fd : {to_us[0], to_us[1], to_it[0], to_it[1]})
      posix_spawn_file_actions_addclose(&actions, fd);
    std::string program = "/proc/self/exe", run = "--gtest_also_run_disabled_tests",
                filter = "--gtest_filter=UcxPeer.DISABLED_ChildRun";
    char* arguments[] = {program.data(), run.data(), filter.data(), nullptr};
    if (posix_spawn(&pid_, "/proc/self/exe", &actions, nullptr, arguments, environ) != 0) pid_ = -1;
    posix_spawn_file_actions_destroy(&actions);
    ::close(to_us[1]);
    ::close(to_it[0]);
    from_ = to_us[0];
    alive_ = to_it[1];
    char blob[EngineAddress::kMaxBlob];
    const ssize_t size = ::read(from_, blob, sizeof blob);
    auto parsed = EngineAddress::parse({blob, size > 0 ? static_cast<std::size_t>(size) : 0});
    if (parsed) address = *parsed;
  }
  ~Peer() {
    kill();
    ::close(from_);
    ::close(alive_);
  }
  Peer(const Peer&) = delete;
  Peer& operator=(const Peer&) = delete;

  void kill() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    waitpid(std::exchange(pid_, -1), nullptr, 0);
  }

  EngineAddress address;

 private:
  pid_t pid_ = -1;
  int from_ = -1, alive_ = -1;
};

// Not a test of its own: what the peer runs until it is killed, or until its parent is gone.
TEST(UcxPeer, DISABLED_ChildRun) {
  if (std::getenv(kPhaseVariable) == nullptr) GTEST_SKIP() << "started by the tests of this file";
  const std::string phase = std::getenv(kPhaseVariable);
  UcxEngine engine(std::getenv(kTlsVariable));
  write_all(100, engine.address.serialize());
  if (phase == "silent") {  // accepts nothing: the kernel alone takes the connection
    char byte;
    (void)!::read(101, &byte, 1);
    return;
  }
  engine.arena->adopt();
  // Watches its parent: the pipe's end makes read() return.
  std::thread([] {
    char byte;
    (void)!::read(101, &byte, 1);
    _exit(0);
  }).detach();
  FramePtr frame;
  std::uint32_t number = 0;
  for (;;) {
    engine.transport->progress();
    if (engine.live.empty() || (phase != "small" && phase != "large")) continue;
    if (frame == nullptr) frame = engine.frame(phase == "large" ? kLarge : 64, number);
    if (engine.live[0]->post(frame) == SendStatus::sent) ++number;
  }
}

struct Case {
  const char* tls;
  const char* phase;
};
void PrintTo(const Case& each, std::ostream* out) {
  *out << each.tls << " " << each.phase;
}

class UcxPeerDeath : public testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    if (const std::string why = unavailable(GetParam().tls); !why.empty()) GTEST_SKIP() << why;
  }
};

TEST_P(UcxPeerDeath, IsToldWithinASecondAndLeaksNothing) {
  const std::string phase = GetParam().phase;
  UcxEngine engine(GetParam().tls);
  Peer peer(phase, GetParam().tls);
  ASSERT_FALSE(peer.address.ucx.empty()) << "the peer did not start";
  auto dialed = engine.transport->connect(peer.address, UcxEngine::kDc);
  ASSERT_TRUE(dialed);
  std::uint32_t expected = 0;
  engine.on_message = [&](Connection&, const FrameHeader& header,
                          std::span<const std::byte> payload, const Buffer&) {
    EXPECT_EQ(header.upper[0], expected++);
    EXPECT_TRUE(UcxEngine::intact(header, payload));
  };
  std::vector<FramePtr> retained;
  if (phase == "silent") {
    for (int i = 0; i < 1000; ++i) engine.transport->progress();
  } else {
    ASSERT_TRUE(run_until({&engine}, [&] { return engine.live.size() == 1; }));
    if (phase == "small") {
      ASSERT_TRUE(run_until({&engine}, [&] { return engine.received > 100; }));
    }
    if (phase == "large") {
      // In the middle of a transfer: some were received, and one is on its way.
      ASSERT_TRUE(run_until(
          {&engine}, [&] { return engine.received >= 2 && engine.transport->unfinished() != 0; }));
    }
    if (phase == "receiving") {
      for (std::uint32_t i = 0; i < 3; ++i) {
        retained.push_back(engine.frame(kLarge, i));
        ASSERT_EQ((*dialed)->send(*retained.back()), SendStatus::sent);
      }
      for (int i = 0; i < 50; ++i) engine.transport->progress();
    }
  }
  peer.kill();
  const auto killed = std::chrono::steady_clock::now();
  ASSERT_TRUE(run_until(
      {&engine}, [&] { return !engine.closed.empty(); }, 5s));
  const auto told = std::chrono::steady_clock::now() - killed;
  EXPECT_LT(told, 1s);
  RecordProperty("told_us", static_cast<int>(told / 1us));
  EXPECT_EQ(engine.closed.size(), 1u);
  EXPECT_EQ(engine.closed[0].code, phase == "silent" ? Errc::unreachable : Errc::connection_lost)
      << engine.closed[0].to_string();
  retained.clear();
  EXPECT_TRUE(run_until(
      {&engine}, [&] { return engine.clean(); }, 3s))
      << engine.transport->unfinished() << " operations, " << engine.frames.outstanding()
      << " frames, " << engine.arena->in_use() << " bytes are still out";
}

INSTANTIATE_TEST_SUITE_P(
    Over, UcxPeerDeath,
    testing::Values(Case{"tcp", "silent"}, Case{"tcp", "idle"}, Case{"tcp", "small"},
                    Case{"tcp", "large"}, Case{"tcp", "receiving"}, Case{"posix,tcp", "idle"},
                    Case{"posix,tcp", "small"}, Case{"posix,tcp", "large"},
                    Case{"posix,tcp", "receiving"}, Case{kRdma, "silent"}, Case{kRdma, "idle"},
                    Case{kRdma, "small"}, Case{kRdma, "large"}, Case{kRdma, "receiving"}),
    [](const auto& each) {
      const Case& parameter = each.param;
      return std::string(parameter.tls, std::strcspn(parameter.tls, ",")) + "_" + parameter.phase;
    });

// One engine, and one peer after the other that is killed in the middle of what it does.
TEST(UcxPeerDeathOverRdma, OneEngineOutlivesManyPeers) {
  if (const std::string why = unavailable(kRdma); !why.empty()) GTEST_SKIP() << why;
  UcxEngine engine(kRdma);
  for (const char* phase : {"idle", "small", "large", "small", "large", "idle"}) {
    SCOPED_TRACE(phase);
    Peer peer(phase, kRdma);
    ASSERT_FALSE(peer.address.ucx.empty()) << "the peer did not start";
    const auto start = std::chrono::steady_clock::now();
    ASSERT_TRUE(engine.transport->connect(peer.address, UcxEngine::kDc));
    ASSERT_TRUE(run_until({&engine}, [&] { return engine.live.size() == 1; }));
    EXPECT_LT(std::chrono::steady_clock::now() - start, 2s);
    const std::size_t before = engine.received;
    if (*phase != 'i') {
      ASSERT_TRUE(run_until({&engine}, [&] { return engine.received > before + 1; }));
    }
    peer.kill();
    ASSERT_TRUE(run_until(
        {&engine}, [&] { return engine.live.empty(); }, 2s));
    EXPECT_TRUE(run_until(
        {&engine}, [&] { return engine.clean(); }, 3s));
  }
}

// UCX takes a setting that it does not know without a word, but warns of it at its warning level.
TEST(UcxSettings, AllOfThemAreKnownToUcx) {
  for (const char* tls : {"tcp", "posix,tcp", kRdma}) {
    if (!unavailable(tls).empty()) continue;
    std::string command =
        std::string("UCX_LOG_LEVEL=warn ") + kPhaseVariable + "=settings " + kTlsVariable + "=" +
        tls + " " + std::filesystem::read_symlink("/proc/self/exe").string() +
        " --gtest_also_run_disabled_tests --gtest_filter=UcxPeer.DISABLED_ChildSettings"
        " 2>&1";
    FILE* output = popen(command.c_str(), "r");
    ASSERT_NE(output, nullptr);
    std::string text;
    char part[512];
    while (std::fgets(part, sizeof part, output) != nullptr) text += part;
    EXPECT_EQ(pclose(output), 0) << text;
    EXPECT_NE(text.find("PASSED"), std::string::npos) << text;
    EXPECT_EQ(text.find("invalid configuration"), std::string::npos) << text;
  }
}

TEST(UcxPeer, DISABLED_ChildSettings) {
  if (std::getenv(kTlsVariable) == nullptr) GTEST_SKIP() << "started by the tests of this file";
  UcxEngine engine(std::getenv(kTlsVariable));
}

}  // namespace
}  // namespace godwit::fabric::ucx

#endif
