#include "state_stream.h"

#include <algorithm>
#include <cstring>
#include <new>

namespace godwit::migrate {

StreamHash::StreamHash() : state_(XXH3_createState()) {
  if (state_ == nullptr) throw std::bad_alloc();
  XXH3_128bits_reset(state_.get());
}

void StreamHash::add(Bytes bytes) noexcept {
  XXH3_128bits_update(state_.get(), bytes.data(), bytes.size());
}

XXH128_hash_t StreamHash::value() const noexcept {
  return XXH3_128bits_digest(state_.get());
}

namespace {

Bytes hashed_part(const Manifest& manifest) {
  return std::as_bytes(std::span(&manifest, 1)).first(offsetof(Manifest, hash_low));
}

}  // namespace

// --- writing -----------------------------------------------------------------------------------

void StreamWriter::append(Bytes bytes) {
  if (taken_ == buffer_.size()) {
    buffer_.clear();
    taken_ = 0;
  }
  buffer_.insert(buffer_.end(), bytes.begin(), bytes.end());
}

void StreamWriter::item(ItemType type, std::uint32_t kind, Bytes bytes) {
  const ItemHeader header{type, kind, bytes.size()};
  const Bytes head = std::as_bytes(std::span(&header, 1));
  hash_.add(head);
  hash_.add(bytes);
  append(head);
  append(bytes);
  ++items_;
  bytes_ += head.size() + bytes.size();
}

void StreamWriter::manifest(Epoch epoch, std::uint32_t members) {
  Manifest manifest{move_, items_, bytes_, epoch, members, 0, 0};
  const ItemHeader header{ItemType::manifest, 0, sizeof manifest};
  hash_.add(std::as_bytes(std::span(&header, 1)));
  hash_.add(hashed_part(manifest));
  const XXH128_hash_t hash = hash_.value();
  manifest.hash_low = hash.low64;
  manifest.hash_high = hash.high64;
  append(std::as_bytes(std::span(&header, 1)));
  append(std::as_bytes(std::span(&manifest, 1)));
}

Bytes StreamWriter::piece(std::size_t least) {
  if (!piece_.empty()) return piece_;
  if (pending() < std::max<std::size_t>(least, 1)) return {};
  const std::size_t size = std::min(pending(), kPiece - sizeof(PieceHeader));
  const PieceHeader header{move_, number_};
  piece_.resize(sizeof header + size);
  std::memcpy(piece_.data(), &header, sizeof header);
  std::memcpy(piece_.data() + sizeof header, buffer_.data() + taken_, size);
  taken_ += size;
  return piece_;
}

void StreamWriter::sent() {
  piece_.clear();
  ++number_;
  // What was taken is let go of before it doubles the memory.
  if (taken_ >= 2 * kPiece && taken_ >= buffer_.size() / 2) {
    buffer_.erase(buffer_.begin(), buffer_.begin() + static_cast<std::ptrdiff_t>(taken_));
    taken_ = 0;
  }
}

// --- reading -----------------------------------------------------------------------------------

namespace {

tl::unexpected<Error> damaged(std::string what) {
  return fail(Errc::protocol_error, "the state did not arrive as it was sent: " + std::move(what));
}

}  // namespace

Result<void> StreamReader::feed(Bytes message, const OnItem& on_item) {
  PieceHeader piece;
  if (message.size() < sizeof piece) return damaged("a short message");
  std::memcpy(&piece, message.data(), sizeof piece);
  if (piece.move != move_) return damaged("a message of another move");
  if (piece.number != next_++) return damaged("a message is missing");
  if (complete_) return damaged("more after its end");
  message = message.subspan(sizeof piece);

  // A message that holds whole items is read where it lies.
  const bool direct = buffer_.empty();
  if (!direct) buffer_.insert(buffer_.end(), message.begin(), message.end());
  Bytes rest = direct ? message : Bytes(buffer_);
  const std::size_t all = rest.size();
  while (rest.size() >= sizeof(ItemHeader) && !complete_) {
    ItemHeader header;
    std::memcpy(&header, rest.data(), sizeof header);
    if (header.length > rest.size() - sizeof header) break;
    const Bytes bytes = rest.subspan(sizeof header, header.length);
    if (header.type == ItemType::manifest) {
      hash_.add(rest.first(sizeof header));
      if (auto whole = check(bytes); !whole) return whole;
    } else {
      hash_.add(rest.first(sizeof header + header.length));
      ++items_;
      bytes_ += sizeof header + header.length;
      if (auto taken = on_item(header, bytes); !taken) return taken;
    }
    rest = rest.subspan(sizeof header + header.length);
  }
  if (complete_ && !rest.empty()) return damaged("more after its end");
  if (direct) {
    buffer_.assign(rest.begin(), rest.end());
  } else {
    buffer_.erase(buffer_.begin(),
                  buffer_.begin() + static_cast<std::ptrdiff_t>(all - rest.size()));
  }
  return {};
}

Result<void> StreamReader::check(Bytes bytes) {
  if (bytes.size() != sizeof manifest_) return damaged("its manifest");
  std::memcpy(&manifest_, bytes.data(), sizeof manifest_);
  hash_.add(hashed_part(manifest_));
  const XXH128_hash_t hash = hash_.value();
  if (manifest_.move != move_ || manifest_.items != items_ || manifest_.bytes != bytes_ ||
      manifest_.hash_low != hash.low64 || manifest_.hash_high != hash.high64) {
    return damaged("it does not fit its manifest");
  }
  complete_ = true;
  return {};
}

}  // namespace godwit::migrate
