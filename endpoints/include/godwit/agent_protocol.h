// How messages (agent.proto) lie in the byte stream between a process and its agent: a length of
// four bytes, little endian, then that many bytes of protobuf. Plain values; no thread of their
// own.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "godwit/error.h"

namespace godwit::agent_protocol {

inline constexpr std::uint32_t kVersionMin = 1;
inline constexpr std::uint32_t kVersionMax = 1;

/// A longer message breaks the protocol. Senders split batches (kMaxBatch, kBatchBytes) to stay far
/// below.
inline constexpr std::size_t kMaxMessage = 16u << 20;
inline constexpr std::size_t kMaxBatch = 1024;
inline constexpr std::size_t kBatchBytes = 1u << 20;

/// A hello must come this soon after connecting.
inline constexpr std::chrono::milliseconds kHelloTimeout{5000};

/// Appends a message with its length to `out`. `message` is any protobuf message of at most
/// kMaxMessage bytes.
template <typename Message>
void append(const Message& message, std::string& out) {
  const std::size_t size = message.ByteSizeLong();
  const std::size_t at = out.size();
  out.resize(at + 4 + size);
  for (int byte = 0; byte < 4; ++byte)
    out[at + byte] = static_cast<char>(size >> (8 * byte) & 0xff);
  message.SerializeWithCachedSizesToArray(reinterpret_cast<std::uint8_t*>(&out[at + 4]));
}

/// Cuts a stream of bytes into messages.
class MessageReader {
 public:
  /// Where to put up to `size` further bytes; commit() says how many came.
  char* prepare(std::size_t size);
  void commit(std::size_t size);

  /// The next whole message, valid until the next prepare(); ok without a value when more bytes are
  /// needed. protocol_error: the stream cannot be read on.
  struct Next {
    bool whole = false;
    std::string_view message;
  };
  Result<Next> next();

 private:
  std::string bytes_;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
};

}  // namespace godwit::agent_protocol
