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

}  // namespace

Timing copy_client(Side& side) {
  const Message answer = must(side.me.call(side.peer, bytes_of("grant")), "call");
  const GrantRef grant = must(GrantRef::from_bytes(answer.payload()), "grant");
  std::vector<std::byte> memory(side.options.size);
  const auto copies = [&](std::uint64_t count) {
    for (std::uint64_t i = 0; i < count; ++i)
      must(side.me.copy_from(grant, 0, std::span(memory)), "copy_from");
  };
  copies(side.options.warmup);
  const Timing timing = time_batches(side.options.count, side.options.count, copies);
  for (std::size_t offset = 0; offset + 8 <= memory.size(); offset += kStride) {
    std::uint64_t word = 0;
    std::memcpy(&word, &memory[offset], sizeof word);
    if (word != word_at(offset)) throw BenchFailure("the copy differs from the granted memory");
  }
  return timing;
}

void copy_server(Side& side) {
  std::vector<std::byte> memory(side.options.size);
  for (std::size_t offset = 0; offset + 8 <= memory.size(); offset += kStride) {
    const std::uint64_t word = word_at(offset);
    std::memcpy(&memory[offset], &word, sizeof word);
  }
  const GrantRef grant = must(side.me.grant(std::span(std::as_const(memory))), "grant");
  Request request = must(side.me.receive_request(), "receive_request");
  must(side.me.reply(std::move(request), grant.to_bytes()), "reply");
  await_end(side);
  must(side.me.revoke(grant), "revoke");
}

}  // namespace godwit::bench
