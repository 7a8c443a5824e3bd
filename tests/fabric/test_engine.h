// TestEngine: one engine's share of the fabric (pool, arena, poller, one transport) that records
// what it is told. Used on one thread; tests pump() several of them in turn.
#pragma once

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <chrono>
#include <cstring>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "fabric/transport_factories.h"
#include "godwit/fabric/address.h"
#include "godwit/fabric/poller.h"
#include "godwit/fabric/transport.h"

namespace godwit::fabric::testing {

inline constexpr std::uint32_t kDc = 7;

inline DcKey key_of(std::uint8_t seed) {
  DcKey key;
  key.fill(seed);
  return key;
}

/// A folder that only this user can enter, removed at the end.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "godwit-XXXXXX").string();
    if (mkdtemp(pattern.data()) != nullptr) path_ = pattern;
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    if (!path_.empty()) std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

struct EngineSetup {
  std::string node = "node";
  /// DC and key; an engine is a member of one DC here.
  std::uint32_t dc = kDc;
  DcKey key = key_of(1);
  std::optional<Handshake::Offer> offer = std::nullopt;
  std::chrono::nanoseconds handshake_timeout = std::chrono::seconds(5);
  std::string listen_host = "127.0.0.1";
};

class TestEngine final : public ConnectionEvents {
 public:
  struct Received {
    Connection* connection;
    FrameHeader header;
    std::string payload;
    bool large;
  };
  struct Closed {
    Connection* connection;
    Error reason;
  };

  TestEngine(TransportFactory& factory, const EngineSetup& setup = {})
      : arena_(Arena::create(64 << 20).value()),
        poller_(Poller::create().value()),
        context_{.identity = {EngineId::random(), setup.node,
                              [setup](std::uint32_t dc) {
                                return dc == setup.dc ? std::optional(setup.key) : std::nullopt;
                              }},
                 .events = *this,
                 .frames = frames_,
                 .arena = *arena_,
                 .poller = *poller_,
                 .runtime_directory = folder_.path(),
                 .listen_host = setup.listen_host,
                 .handshake_timeout = setup.handshake_timeout},
        transport_(factory.make(context_, setup.offer)) {
    address_.engine = context_.identity.engine;
    address_.node = setup.node;
    address_.host = this_host();
    if (transport_ != nullptr) {
      auto listening = transport_->listen(address_);
      EXPECT_TRUE(listening.has_value()) << listening.error().to_string();
    }
  }
  ~TestEngine() {
    received.clear();
    transport_.reset();
  }

  Transport& transport() { return *transport_; }
  bool has_transport() const { return transport_ != nullptr; }
  const EngineAddress& address() const { return address_; }
  FramePool& frames() { return frames_; }
  Arena& arena() { return *arena_; }
  const std::string& folder() const { return folder_.path(); }
  Poller& poller() { return *poller_; }
  const Identity& identity() const { return context_.identity; }

  /// Drops the transport as an engine that ends does.
  void end_transport() { transport_.reset(); }

  unsigned step() { return transport_->progress() + poller_->dispatch({}); }

  FramePtr make_frame(std::uint32_t size, std::uint32_t tag = 0) {
    FramePtr frame = frames_.allocate(std::min(size, kSmallPayload));
    frame->header.length = size;
    frame->header.fabric = 0;
    frame->header.upper = {tag, 1, 2, 3, 4, 5};
    if (size > kSmallPayload) frame->large = arena_->allocate(size);
    fill(frame->payload(), tag);
    return frame;
  }

  /// A pattern that differs by place and by tag, so that a shifted or foreign payload is noticed.
  static void fill(std::span<std::byte> payload, std::uint32_t tag) {
    for (std::size_t i = 0; i < payload.size(); ++i) payload[i] = pattern(i, tag);
  }
  static bool has_pattern(std::string_view payload, std::uint32_t tag) {
    for (std::size_t i = 0; i < payload.size(); ++i) {
      if (static_cast<std::byte>(payload[i]) != pattern(i, tag)) return false;
    }
    return true;
  }

  std::vector<Connection*> established;
  std::vector<Received> received;
  std::vector<Closed> closed;
  std::vector<Connection*> writable;

  // What a test wants to do inside the handlers; without one, the default.
  std::function<Buffer(Connection&, const FrameHeader&)> on_place;
  std::function<void(Connection&, const FrameHeader&, std::span<const std::byte>, Buffer)> on_data;
  std::function<void(Connection&)> on_up;
  std::function<void(Connection&)> on_room;
  std::function<void(Connection&)> on_down;

  void on_established(Connection& connection) override {
    EXPECT_TRUE(connection.established());
    established.push_back(&connection);
    if (on_up) on_up(connection);
  }
  void on_frame(Connection& connection, const FrameHeader& header,
                std::span<const std::byte> payload, Buffer large) override {
    if (on_data) return on_data(connection, header, payload, std::move(large));
    received.push_back({&connection,
                        header,
                        {reinterpret_cast<const char*>(payload.data()), payload.size()},
                        !large.empty()});
  }
  Buffer place(Connection& connection, const FrameHeader& header) override {
    if (on_place) return on_place(connection, header);
    return arena_->allocate(header.length);
  }
  void on_writable(Connection& connection) override {
    writable.push_back(&connection);
    if (on_room) on_room(connection);
  }
  void on_closed(Connection& connection, const Error& reason) override {
    closed.push_back({&connection, reason});
    if (on_down) on_down(connection);
  }

 private:
  static std::byte pattern(std::size_t at, std::uint32_t tag) {
    return static_cast<std::byte>((at * 31 + (at >> 8) * 7 + tag * 13 + 5) & 0xff);
  }

  TemporaryFolder folder_;
  FramePool frames_;
  std::unique_ptr<Arena> arena_;
  std::unique_ptr<Poller> poller_;
  TransportContext context_;
  EngineAddress address_;
  std::unique_ptr<Transport> transport_;
};

/// Steps the engines in turn until `done` or the time is over (a test's failure, not its pace).
template <typename Done, typename... Engines>
bool pump_until(Done done, std::chrono::milliseconds limit, Engines&... engines) {
  const auto end = std::chrono::steady_clock::now() + limit;
  while (!done()) {
    if (std::chrono::steady_clock::now() > end) return false;
    (engines.step(), ...);
  }
  return true;
}

template <typename Done, typename... Engines>
bool pump_until(Done done, Engines&... engines) {
  return pump_until(std::move(done), std::chrono::seconds(20), engines...);
}

}  // namespace godwit::fabric::testing
