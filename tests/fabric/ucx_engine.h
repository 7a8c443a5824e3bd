// An engine's worth of a ucx transport for tests: everything that a TransportContext needs, and a
// record of what the layer above was told. One thread.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "godwit/fabric/address.h"
#include "godwit/fabric/arena.h"
#include "godwit/fabric/frame_pool.h"
#include "godwit/fabric/poller.h"
#include "godwit/fabric/rdma_hosts.h"
#include "godwit/fabric/transport.h"
#include "ucx/ucx_transport_impl.h"

namespace godwit::fabric::ucx {

/// In place of a list of transports: RDMA, as it is chosen for the host of a device.
inline constexpr const char* kRdma = "rdma";

/// Empty, or why an engine over these transports cannot be made here.
inline std::string unavailable(std::string_view tls) {
  return tls == kRdma && rdma_hosts().empty() ? "this machine has no RDMA device" : "";
}

class UcxEngine final : public ConnectionEvents {
 public:
  static constexpr std::uint32_t kDc = 7;

  explicit UcxEngine(const std::string& tls, std::uint8_t key = 1,
                     std::chrono::nanoseconds handshake_timeout = std::chrono::seconds(10))
      : poller(*Poller::create()), arena(*Arena::create(256u << 20)) {
    DcKey dc_key{};
    dc_key.fill(key);
    const EngineId id = EngineId::random();
    context = std::unique_ptr<TransportContext>(new TransportContext{
        Identity{id, "node",
                 [dc_key](std::uint32_t dc) {
                   return dc == kDc ? std::optional<DcKey>(dc_key) : std::nullopt;
                 }},
        *this,
        frames,
        *arena,
        *poller,
        "/nonexistent",
    });
    context->handshake_timeout = handshake_timeout;
    UcxOptions options;
    if (tls == kRdma) {
      options.host = rdma_hosts().front();
    } else {
      options.tls = tls;
    }
    auto made = UcxTransport::create(*context, options);
    if (!made) {
      ADD_FAILURE() << made.error().to_string();
      return;
    }
    transport = std::move(*made);
    address.engine = id;
    address.node = "node";
    const auto listening = transport->listen(address);
    if (!listening) ADD_FAILURE() << listening.error().to_string();
  }

  void on_established(Connection& connection) override { live.push_back(&connection); }
  void on_frame(Connection& connection, const FrameHeader& header,
                std::span<const std::byte> payload, Buffer large) override {
    ++received;
    if (on_message) on_message(connection, header, payload, std::move(large));
  }
  Buffer place(Connection&, const FrameHeader& header) override {
    return refuse_places ? Buffer() : arena->allocate(header.length);
  }
  void on_writable(Connection&) override { ++writable; }
  void on_closed(Connection& connection, const Error& reason) override {
    std::erase(live, &connection);
    closed.push_back(reason);
  }

  /// Everything that was lent is back.
  bool clean() {
    return transport->unfinished() == 0 && frames.outstanding() == 0 && arena->in_use() == 0;
  }

  /// No endpoint is left of what was closed.
  bool parted() const { return transport->endpoints() == 0; }

  FramePtr frame(std::uint32_t length, std::uint32_t number) {
    FramePtr result = frames.allocate(std::min(length, kSmallPayload));
    result->header.length = length;
    result->header.upper[0] = number;
    if (length > kSmallPayload) result->large = arena->allocate(length);
    for (std::size_t i = 0; i < length; i += 512)
      result->payload()[i] = static_cast<std::byte>(number + i / 512);
    return result;
  }
  static bool intact(const FrameHeader& header, std::span<const std::byte> payload) {
    if (payload.size() != header.length) return false;
    for (std::size_t i = 0; i < payload.size(); i += 512) {
      if (payload[i] != static_cast<std::byte>(header.upper[0] + i / 512)) return false;
    }
    return true;
  }

  std::unique_ptr<Poller> poller;
  FramePool frames;
  std::unique_ptr<Arena> arena;
  std::unique_ptr<TransportContext> context;
  EngineAddress address;
  std::unique_ptr<UcxTransport> transport;

  std::vector<Connection*> live;
  std::vector<Error> closed;
  std::function<void(Connection&, const FrameHeader&, std::span<const std::byte>, Buffer)>
      on_message;
  std::size_t received = 0;
  std::size_t writable = 0;
  bool refuse_places = false;
};

/// Moves the engines until the condition holds; false when it does not within the limit.
template <typename Condition>
bool run_until(std::initializer_list<UcxEngine*> engines, Condition condition,
               std::chrono::milliseconds limit = std::chrono::seconds(20)) {
  const auto end = std::chrono::steady_clock::now() + limit;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    for (UcxEngine* engine : engines) engine->transport->progress();
  }
  return true;
}

}  // namespace godwit::fabric::ucx
