#include "coord/backend.h"

#include "support/zookeeper_server.h"

#include <godwit/coord/local_coordinator.h>
#include <godwit/coord/zookeeper_coordinator.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <thread>

namespace godwit::coord {
namespace {

using namespace std::chrono_literals;

class LocalBackend final : public Backend {
 public:
  std::chrono::milliseconds session_timeout() const override { return 600ms; }

 protected:
  std::unique_ptr<Coordinator> make(SessionHandler on_session) override {
    auto opened =
        LocalCoordinator::open({folder_.path(), session_timeout(), std::move(on_session)});
    if (!opened) ADD_FAILURE() << opened.error().message;
    return opened ? std::move(*opened) : nullptr;
  }

 private:
  TemporaryFolder folder_;
};

class ZooKeeperBackend final : public Backend {
 public:
  ZooKeeperBackend() {
    if (auto reason = test_support::ZooKeeperServer::unavailable()) {
      skip_reason = *reason;
      return;
    }
    server_ = test_support::ZooKeeperServer::start();
    if (server_ == nullptr) ADD_FAILURE() << "the ZooKeeper server did not start";
  }
  std::chrono::milliseconds session_timeout() const override { return 1000ms; }

 protected:
  std::unique_ptr<Coordinator> make(SessionHandler on_session) override {
    if (server_ == nullptr) return nullptr;
    ZooKeeperOptions options;
    options.servers = server_->address() + "/conformance";
    options.prefix = "/deep";
    options.session_timeout = session_timeout();
    options.on_session = std::move(on_session);
    auto opened = ZooKeeperCoordinator::open(std::move(options));
    if (!opened) ADD_FAILURE() << opened.error().message;
    return opened ? std::move(*opened) : nullptr;
  }

 private:
  std::unique_ptr<test_support::ZooKeeperServer> server_;
};

}  // namespace

std::unique_ptr<Coordinator> Backend::open(SessionHandler on_session) {
  auto coordinator = make(std::move(on_session));
  if (coordinator == nullptr) return nullptr;
  const bool connected = eventually([&] { return coordinator->connected(); });
  EXPECT_TRUE(connected);
  return connected ? std::move(coordinator) : nullptr;
}

std::unique_ptr<Backend> make_local_backend() {
  return std::make_unique<LocalBackend>();
}
std::unique_ptr<Backend> make_zookeeper_backend() {
  return std::make_unique<ZooKeeperBackend>();
}

TemporaryFolder::TemporaryFolder() {
  char name[] = "/tmp/godwit-coord-XXXXXX";
  path_ = mkdtemp(name);
}
TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

bool eventually(const std::function<bool()>& condition, std::chrono::milliseconds limit) {
  const auto deadline = std::chrono::steady_clock::now() + limit;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(5ms);
  }
  return true;
}

}  // namespace godwit::coord
