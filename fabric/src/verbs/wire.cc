#include "verbs/wire.h"

#include <algorithm>
#include <cstring>

namespace godwit::fabric::verbs {

namespace {

// First in the private data: a stranger's connection is told from a peer's before anything else.
constexpr std::string_view kMagic = "GWV1";
constexpr std::uint16_t kVersion = 1;

template <typename T>
T take(const void* from, std::size_t offset) noexcept {
  T value;
  std::memcpy(&value, static_cast<const char*>(from) + offset, sizeof value);
  return value;
}

}  // namespace

std::optional<Message> parse(std::span<const std::byte> bytes, std::uint32_t max_payload) noexcept {
  if (bytes.size() < sizeof(FrameHeader)) return std::nullopt;
  Message message;
  std::memcpy(&message.header, bytes.data(), sizeof message.header);
  const auto control = unpack(message.header.fabric);
  if (!control) return std::nullopt;
  message.control = *control;
  message.header.fabric = 0;
  message.body = bytes.subspan(sizeof(FrameHeader));
  const std::size_t size = message.body.size();
  const std::uint32_t length = message.header.length;
  switch (control->kind) {
    case Kind::frame:
    case Kind::handshake:
    case Kind::more:
      if (length != size || length > kSmallPayload) return std::nullopt;
      break;
    case Kind::update:
    case Kind::goodbye:
      if (length != 0 || size != 0) return std::nullopt;
      break;
    case Kind::begin:
      if (size != kSmallPayload || length <= kSmallPayload || length > max_payload)
        return std::nullopt;
      break;
    case Kind::announce:
      if (length <= kSmallPayload || length > max_payload) return std::nullopt;
      break;
  }
  return message;
}

void Announce::encode(std::byte* to) const noexcept {
  const auto count = static_cast<std::uint32_t>(keys.size());
  std::memcpy(to, &address, sizeof address);
  std::memcpy(to + 8, &skipped, sizeof skipped);
  std::memcpy(to + 16, &chunk_bits, sizeof chunk_bits);
  std::memcpy(to + 20, &count, sizeof count);
  std::memcpy(to + kFixed, keys.data(), keys.size() * sizeof(std::uint32_t));
}

std::optional<Announce> Announce::decode(std::span<const std::byte> body, std::uint32_t length) {
  if (body.size() < kFixed || length == 0) return std::nullopt;
  Announce announce;
  announce.address = take<std::uint64_t>(body.data(), 0);
  announce.skipped = take<std::uint64_t>(body.data(), 8);
  announce.chunk_bits = take<std::uint32_t>(body.data(), 16);
  const auto count = take<std::uint32_t>(body.data(), 20);
  if (announce.address + length < announce.address) return std::nullopt;
  if (announce.chunk_bits == kWhole) {
    if (count != 1 || announce.skipped != 0) return std::nullopt;
  } else if (announce.chunk_bits < kMinChunkBits || announce.chunk_bits > kMaxChunkBits ||
             announce.skipped >> announce.chunk_bits != 0 ||
             count != chunks_of(announce.skipped, length, announce.chunk_bits)) {
    return std::nullopt;
  }
  if (count > kMaxKeys || body.size() != kFixed + count * sizeof(std::uint32_t))
    return std::nullopt;
  announce.keys.resize(count);
  std::memcpy(announce.keys.data(), body.data() + kFixed, count * sizeof(std::uint32_t));
  return announce;
}

Announce::Piece Announce::piece(std::uint64_t offset, std::uint64_t length) const noexcept {
  if (chunk_bits == kWhole) return {address + offset, keys[0], length - offset};
  const std::uint64_t at = skipped + offset;
  const std::uint64_t end = ((at >> chunk_bits) + 1) << chunk_bits;
  return {address + offset, keys[at >> chunk_bits], std::min(length - offset, end - at)};
}

std::string Introduction::encode() const {
  std::string bytes(kMagic);
  const std::uint16_t numbers[] = {kVersion, kSize};
  bytes.append(reinterpret_cast<const char*>(numbers), sizeof numbers);
  bytes.append(reinterpret_cast<const char*>(&link), sizeof link);
  return bytes;
}

std::optional<Introduction> Introduction::decode(std::string_view bytes) noexcept {
  if (bytes.size() < kSize || !bytes.starts_with(kMagic)) return std::nullopt;
  // A later version may say more behind what this one knows, and less never.
  if (take<std::uint16_t>(bytes.data(), 4) < kVersion) return std::nullopt;
  if (take<std::uint16_t>(bytes.data(), 6) < kSize) return std::nullopt;
  return Introduction{take<std::uint32_t>(bytes.data(), 8)};
}

std::string encode_window(std::uint32_t window) {
  return std::string(reinterpret_cast<const char*>(&window), sizeof window);
}

std::optional<std::uint32_t> decode_window(std::string_view bytes) noexcept {
  if (bytes.size() < sizeof(std::uint32_t)) return std::nullopt;
  const auto window = take<std::uint32_t>(bytes.data(), 0);
  if (window < 4 || window > Control::kMax) return std::nullopt;
  return window;
}

}  // namespace godwit::fabric::verbs
