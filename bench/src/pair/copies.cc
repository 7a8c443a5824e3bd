#include <cstring>
#include <vector>

#include "pair/tests.h"

namespace godwit::bench {

namespace {

// A pattern that no copy of another place, and no fresh memory, has by chance.
std::uint64_t word_at(std::size_t offset) noexcept {
  return (offset + 1) * 0x9E3779B97F4A7C15u;
}
constexpr std::size_t kStride = 4096;

void write_pattern(std::span<std::byte> memory) {
  for (std::size_t offset = 0; offset + 8 <= memory.size(); offset += kStride) {
    const std::uint64_t word = word_at(offset);
    std::memcpy(&memory[offset], &word, sizeof word);
  }
}
void check_pattern(std::span<const std::byte> memory) {
  for (std::size_t offset = 0; offset + 8 <= memory.size(); offset += kStride) {
    std::uint64_t word = 0;
    std::memcpy(&word, &memory[offset], sizeof word);
    if (word != word_at(offset)) throw BenchFailure("the copy differs from its source");
  }
}

template <typename Copy>
Timing time_copies(Side& side, Copy copy) {
  const Message answer = must(side.me.call(side.peer, bytes_of("grant")), "call");
  const GrantRef grant = must(GrantRef::from_bytes(answer.payload()), "grant");
  const auto copies = [&](std::uint64_t count) {
    for (std::uint64_t i = 0; i < count; ++i) must(copy(grant), "copy");
  };
  copies(side.options.warmup);
  return time_batches(side.options.count, side.options.count, copies);
}

void serve_grant(Side& side, std::span<std::byte> memory) {
  const GrantRef grant = must(side.me.grant(memory, {Rights::read_write, {}}), "grant");
  Request request = must(side.me.receive_request(), "receive_request");
  must(side.me.reply(std::move(request), grant.to_bytes()), "reply");
  await_end(side);
  must(side.me.revoke(grant), "revoke");
}

}  // namespace

Timing copy_client(Side& side) {
  std::vector<std::byte> memory(side.options.size);
  const Timing timing = time_copies(
      side, [&](const GrantRef& grant) { return side.me.copy_from(grant, 0, std::span(memory)); });
  check_pattern(memory);
  return timing;
}

void copy_server(Side& side) {
  std::vector<std::byte> memory(side.options.size);
  write_pattern(memory);
  serve_grant(side, memory);
}

Timing copy_to_client(Side& side) {
  std::vector<std::byte> memory(side.options.size);
  write_pattern(memory);
  return time_copies(side,
                     [&](const GrantRef& grant) { return side.me.copy_to(grant, 0, memory); });
}

void copy_to_server(Side& side) {
  std::vector<std::byte> memory(side.options.size);
  serve_grant(side, memory);
  check_pattern(memory);
}

}  // namespace godwit::bench
