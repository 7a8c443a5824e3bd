// Frames over ucx: a header is taken or refused by its bytes and by what came with it, and frames
// leave Reorder once each and in the order of their numbers, whatever numbers a peer chooses.
//
// The input is a row of messages: a WireHeader, then one byte: bit 0, it comes by rendezvous; bit
// 1, its data is there at once; bit 2, the data has not the length that the header says; bit 3, the
// oldest payload that is being fetched is there afterwards.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <deque>
#include <span>
#include <string_view>

#include "ucx/reorder.h"
#include "ucx/wire.h"

using namespace godwit::fabric;

namespace {

constexpr std::uint32_t kLimit = 1u << 20;
constexpr std::uint32_t kWindow = 64;

void check(bool holds) {
  if (!holds) std::abort();
}

void receive(std::span<const std::byte> bytes) {
  ucx::Reorder reorder(kWindow);
  std::uint32_t delivered = 0;
  std::deque<std::uint32_t> fetching;
  const auto drain = [&] {
    while (auto frame = reorder.pop()) check(frame->header.upper[0] == delivered++);
  };
  const auto fill = [&](std::uint32_t number) {
    ucx::HeldFrame held;
    held.header.upper[0] = number;
    reorder.fill(number, std::move(held));
    drain();
  };
  while (bytes.size() > sizeof(ucx::WireHeader)) {
    const auto header = ucx::decode_header(bytes.first(sizeof(ucx::WireHeader)));
    check(header.has_value());
    const auto how = static_cast<std::uint8_t>(bytes[sizeof(ucx::WireHeader)]);
    bytes = bytes.subspan(sizeof(ucx::WireHeader) + 1);
    const bool rendezvous = (how & 1) != 0;
    const std::size_t length = std::size_t{header->frame.length} + ((how & 4) != 0 ? 1 : 0);
    if (!ucx::fits(*header, length, rendezvous, kLimit)) return;  // the connection is lost
    check(length <= kLimit && (how & 4) == 0 && (!rendezvous || length > kSmallPayload));
    const std::uint32_t number = header->frame.fabric;
    if (!rendezvous && reorder.pass(number)) {
      check(number == delivered++);
      continue;
    }
    if (!reorder.claim(number)) return;
    check(reorder.held() <= kWindow);
    if (!rendezvous || (how & 2) != 0) {
      fill(number);
    } else {
      fetching.push_back(number);
    }
    if ((how & 8) != 0 && !fetching.empty()) {
      const std::uint32_t first = fetching.front();
      fetching.pop_front();
      fill(first);
    }
  }
  for (const std::uint32_t number : fetching) fill(number);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::span bytes(reinterpret_cast<const std::byte*>(data), size);
  check(ucx::decode_header(bytes).has_value() == (size == sizeof(ucx::WireHeader)));
  const auto key = ucx::decode_key({reinterpret_cast<const char*>(data), size});
  check(key.has_value() == (size == sizeof(ucx::ConnectionKey)));
  receive(bytes);
  return 0;
}
