// One side of the pair: its process, its endpoint and the other side's. Belongs to the thread that
// bound the endpoint.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstring>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

#include "godwit/endpoint.h"
#include "godwit/process.h"
#include "pair/options.h"

namespace godwit::bench {

/// A benchmark that cannot go on says why and ends: there is nobody to give the error to.
struct BenchFailure : std::runtime_error {
  using std::runtime_error::runtime_error;
};

inline void must(const Result<void>& result, const char* what) {
  if (!result) [[unlikely]]
    throw BenchFailure(std::string(what) + ": " + result.error().to_string());
}
template <typename T>
T must(Result<T> result, const char* what) {
  if (!result) [[unlikely]]
    throw BenchFailure(std::string(what) + ": " + result.error().to_string());
  return std::move(*result);
}

struct Side {
  Process& process;
  Endpoint& me;
  Remote peer;
  const PairOptions& options;
};

/// The client's last request: it has all it wants.
inline constexpr std::string_view kEnd = "end";

/// What a server's test ends with: the server leaves after the client, so that nothing of the
/// client is lost with it.
inline void await_end(Side& side) {
  Request end = must(side.me.receive_request(), "waiting for the end");
  if (end.text() != kEnd) throw BenchFailure("the client sent more than was agreed");
  must(side.me.reply(std::move(end), bytes_of(kEnd)), "reply");
  // Ends when the client's endpoint is gone; the limit is for a client that was killed.
  (void)side.me.receive_from(side.peer, std::chrono::seconds(1));
}

/// Each message carries its number in its first eight bytes, so that a measurement of lost, doubled
/// or reordered messages cannot pass for a fast one.
inline void put_number(std::byte* payload, std::uint64_t number) noexcept {
  std::memcpy(payload, &number, sizeof number);
}
inline void check_number(Bytes payload, std::uint64_t expected, std::size_t size) {
  std::uint64_t number = 0;
  if (payload.size() != size || size < sizeof number) [[unlikely]]
    throw BenchFailure("a message of the wrong size arrived");
  std::memcpy(&number, payload.data(), sizeof number);
  if (number != expected) [[unlikely]]
    throw BenchFailure("message " + std::to_string(number) + " arrived instead of " +
                       std::to_string(expected));
}

}  // namespace godwit::bench
