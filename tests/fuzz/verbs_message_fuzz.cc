// Messages over verbs: any bytes either make a message whose parts fit each other, or are refused.
// An announcement that is taken covers exactly its payload, piece by piece. The same bytes are read
// as the private data of a connection and as the window of a handshake, too.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <span>
#include <string_view>
#include <vector>

#include "verbs/credits.h"
#include "verbs/wire.h"

using namespace godwit::fabric;

namespace {

constexpr std::uint32_t kLimit = 1u << 20;

void check(bool holds) {
  if (!holds) std::abort();
}

void check_announce(std::span<const std::byte> body, std::uint32_t length) {
  const auto announce = verbs::Announce::decode(body, length);
  if (!announce) return;
  std::uint64_t offset = 0;
  std::size_t pieces = 0;
  while (offset < length) {
    const auto piece = announce->piece(offset, length);
    check(piece.size != 0 && piece.size <= length - offset);
    check(piece.address == announce->address + offset);
    offset += piece.size;
    ++pieces;
  }
  check(pieces == announce->keys.size());
  std::vector<std::byte> again(announce->size());
  announce->encode(again.data());
  check(again.size() == body.size() && std::memcmp(again.data(), body.data(), body.size()) == 0);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::span bytes(reinterpret_cast<const std::byte*>(data), size);
  if (const auto message = verbs::parse(bytes, kLimit)) {
    check(message->header.fabric == 0 && message->header.length <= kLimit);
    check(message->body.size() + sizeof(FrameHeader) == size);
    if (message->control.kind == verbs::Kind::announce)
      check_announce(message->body, message->header.length);
  }
  // An announcement alone, so that not every input needs a header first.
  if (size > 4) {
    std::uint32_t length = 0;
    std::memcpy(&length, data, sizeof length);
    check_announce(bytes.subspan(4), length % kLimit + 1);
  }
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  (void)verbs::Introduction::decode(text);
  if (const auto window = verbs::decode_window(text))
    check(*window >= verbs::Credits::kSmallestWindow && *window <= verbs::Control::kMax);
  return 0;
}
