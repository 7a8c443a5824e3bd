// The state of a group on its way: a stream of items, cut into messages, with a manifest at its
// end. No I/O. Thread of the group.
//
// Each message begins with the id of the move and its own number. Items cross the borders of
// messages. The manifest has the hash of all bytes before it (XXH3, 128 bits: against accidents;
// that the peer belongs to the DC is proved by the connection).
#pragma once

#include <xxhash.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "godwit/error.h"
#include "godwit/message.h"
#include "godwit/migrate/move.h"

namespace godwit::migrate {

struct PieceHeader {
  std::uint64_t move;
  std::uint64_t number;  // counted from 0
};

enum class ItemType : std::uint32_t {
  version = 1,  // kind: of the state's format. The first item
  record = 2,   // kind: the program's
  image = 3,    // of an endpoint; kind: its place among the members
  manifest = 4,
  intent = 5,  // what the source's agent gave for the target's
  peer = 6,    // where the engine of a peer is reached; kind: the number of the DC
};

struct ItemHeader {
  ItemType type;
  std::uint32_t kind;
  std::uint64_t length;
};
static_assert(sizeof(PieceHeader) == 16 && sizeof(ItemHeader) == 16);

struct Manifest {
  std::uint64_t move;
  std::uint64_t items;  // before this
  std::uint64_t bytes;
  std::uint32_t epoch;  // of the group at the source
  std::uint32_t members;
  std::uint64_t hash_low;  // of everything above, too
  std::uint64_t hash_high;
};
static_assert(sizeof(Manifest) == 48);

/// XXH3 over a stream.
class StreamHash {
 public:
  StreamHash();
  void add(Bytes bytes) noexcept;
  XXH128_hash_t value() const noexcept;

 private:
  struct Free {
    void operator()(XXH3_state_t* state) const noexcept { XXH3_freeState(state); }
  };
  std::unique_ptr<XXH3_state_t, Free> state_;
};

class StreamWriter {
 public:
  /// Bytes of a message, at most.
  static constexpr std::size_t kPiece = 256 << 10;

  explicit StreamWriter(std::uint64_t move) : move_(move) {}

  void item(ItemType type, std::uint32_t kind, Bytes bytes);
  void manifest(Epoch epoch, std::uint32_t members);

  std::size_t pending() const noexcept { return buffer_.size() - taken_; }
  /// The next message, or empty if less than `least` bytes wait. Valid until the next call; the
  /// same again until sent() is called.
  Bytes piece(std::size_t least);
  void sent();

 private:
  void append(Bytes bytes);

  const std::uint64_t move_;
  StreamHash hash_;
  std::vector<std::byte> buffer_;
  std::size_t taken_ = 0;
  std::vector<std::byte> piece_;
  std::uint64_t number_ = 0;
  std::uint64_t items_ = 0;
  std::uint64_t bytes_ = 0;
};

class StreamReader {
 public:
  using OnItem = std::function<Result<void>(const ItemHeader& header, Bytes bytes)>;

  explicit StreamReader(std::uint64_t move) : move_(move) {}

  /// Takes one message and gives each item that is whole to `on_item`, but the manifest, which it
  /// checks. Errors: those of `on_item`, and protocol_error if the bytes are not what was sent.
  Result<void> feed(Bytes message, const OnItem& on_item);
  /// All is here and has its hash.
  bool complete() const noexcept { return complete_; }
  const Manifest& manifest() const noexcept { return manifest_; }

 private:
  Result<void> check(Bytes bytes);

  const std::uint64_t move_;
  StreamHash hash_;
  std::vector<std::byte> buffer_;
  std::uint64_t next_ = 0;
  std::uint64_t items_ = 0;
  std::uint64_t bytes_ = 0;
  bool complete_ = false;
  Manifest manifest_{};
};

}  // namespace godwit::migrate
