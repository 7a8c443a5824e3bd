// What an endpoint receives: messages, requests and notifications.
//
// A Message owns its payload: the memory goes back (to this process's pool, or to the peer that
// lent it) when the Message is destroyed. It may be moved to and destroyed on any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <utility>

#include "godwit/endpoint_id.h"
#include "godwit/fabric/frame_pool.h"

namespace godwit {

using Bytes = std::span<const std::byte>;

/// The bytes of a string or of a trivially copyable object.
inline Bytes bytes_of(std::string_view text) noexcept {
  return std::as_bytes(std::span(text));
}
inline std::string_view text_of(Bytes bytes) noexcept {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

class Engine;

class Message {
 public:
  enum class Kind : std::uint8_t { message = 1, request = 2, reply = 3, notification = 4 };

  Message() = default;
  Message(fabric::FramePtr frame, EndpointId source, Kind kind) noexcept
      : frame_(std::move(frame)), source_(source), kind_(kind) {}
  Message(EndpointId source, std::uint64_t bits) noexcept
      : source_(source), bits_(bits), kind_(Kind::notification) {}

  Kind kind() const noexcept { return kind_; }
  EndpointId source() const noexcept { return source_; }

  /// The payload; at most kMaxMessage bytes. Read-only: it may lie in the sender's memory.
  Bytes payload() const noexcept { return frame_ ? Bytes(frame_->payload()) : Bytes(); }
  std::string_view text() const noexcept { return text_of(payload()); }

  /// The bits of a notification: all that were notified since the last one was received.
  std::uint64_t bits() const noexcept { return bits_; }

 private:
  friend class Engine;
  fabric::FramePtr frame_;
  EndpointId source_;
  std::uint64_t bits_ = 0;
  Kind kind_ = Kind::message;
};

/// A request that wants one reply: Endpoint::reply() takes it, on any thread of the process.
/// Dropping it unanswered tells the caller so (Errc::closed, its outcome unknown). A Request must
/// not outlive its Process.
class Request {
 public:
  Request() = default;
  Request(Engine* engine, std::uint32_t channel, std::uint32_t serial, std::uint32_t number,
          Message message) noexcept
      : engine_(engine),
        channel_(channel),
        serial_(serial),
        number_(number),
        message_(std::move(message)) {}
  Request(Request&& other) noexcept { *this = std::move(other); }
  Request& operator=(Request&& other) noexcept {
    std::swap(engine_, other.engine_);
    std::swap(channel_, other.channel_);
    std::swap(serial_, other.serial_);
    std::swap(number_, other.number_);
    std::swap(message_, other.message_);
    return *this;
  }
  ~Request();

  EndpointId source() const noexcept { return message_.source(); }
  Bytes payload() const noexcept { return message_.payload(); }
  std::string_view text() const noexcept { return message_.text(); }
  /// False once it was answered.
  explicit operator bool() const noexcept { return engine_ != nullptr; }

 private:
  friend class Engine;
  Engine* engine_ = nullptr;
  std::uint32_t channel_ = 0;
  std::uint32_t serial_ = 0;
  std::uint32_t number_ = 0;
  Message message_;
};

}  // namespace godwit
