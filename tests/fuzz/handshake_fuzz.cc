// The handshake. The first byte of the input chooses what it is:
//   0  what a stranger sends over TCP to an acceptor: prefixed messages
//   1  what a stranger answers to a dialer, likewise
//   2+ changes to a sound handshake: pairs of (place, value) written over its messages in turn.
// No stranger is ever believed, and a changed message never establishes the side that takes it.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "godwit/fabric/handshake.h"
#include "tcp/handshake_prefix.h"

using godwit::fabric::DcKey;
using godwit::fabric::EngineId;
using godwit::fabric::Handshake;
using godwit::fabric::Identity;
using State = Handshake::State;

namespace {

constexpr std::uint32_t kDc = 7;

Identity identity(std::uint64_t engine) {
  return {EngineId{engine, 1}, "node", [](std::uint32_t dc) {
            DcKey key;
            key.fill(42);
            return dc == kDc ? std::optional(key) : std::nullopt;
          }};
}

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text));
}

void meet_stranger(Handshake handshake, std::string_view bytes) {
  while (handshake.state() == State::running) {
    const auto message = godwit::fabric::tcp::take_prefixed(bytes);
    if (!message || !*message) break;
    handshake.on_message(bytes_of(**message));
    for (const std::string& output : handshake.take_output()) {
      if (output.size() > Handshake::kMaxMessage) std::abort();
    }
  }
  if (handshake.state() == State::established) std::abort();
}

void change_sound_one(std::string_view changes) {
  Handshake dialer = Handshake::dial(identity(1), kDc, {});
  Handshake acceptor = Handshake::accept(identity(2), {});
  for (bool moved = true; moved;) {
    moved = false;
    for (auto [from, to] : {std::pair(&dialer, &acceptor), std::pair(&acceptor, &dialer)}) {
      for (std::string message : from->take_output()) {
        moved = true;
        const std::string sound = message;
        if (changes.size() >= 2) {
          message[static_cast<std::uint8_t>(changes[0]) % message.size()] = changes[1];
          changes.remove_prefix(2);
        }
        const bool waiting = to->state() == State::running;
        to->on_message(bytes_of(message));
        if (waiting && message != sound && to->state() == State::established) std::abort();
      }
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view rest(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0]) {
    case 0:
      meet_stranger(Handshake::accept(identity(2), {}), rest);
      break;
    case 1:
      meet_stranger(Handshake::dial(identity(1), kDc, {}), rest);
      break;
    default:
      change_sound_one(rest);
      break;
  }
  return 0;
}
