#include "record_envelope.h"

#include <algorithm>

namespace godwit::coord {
namespace {
constexpr char kMagic = 'G';
constexpr char kVersion = 1;
constexpr std::size_t kHeaderBytes = 3;
constexpr std::size_t kNonceBytes = 8;
}  // namespace

WriteTrail extend_trail(std::uint64_t nonce, const WriteTrail& trail) {
  WriteTrail longer;
  longer.nonces[0] = nonce;
  const std::size_t kept = std::min<std::size_t>(trail.count, WriteTrail::kCapacity - 1);
  std::copy_n(trail.nonces.begin(), kept, longer.nonces.begin() + 1);
  longer.count = static_cast<std::uint8_t>(kept + 1);
  return longer;
}

std::string wrap_record(const WriteTrail& trail, std::string_view data) {
  std::string stored;
  stored.reserve(kHeaderBytes + trail.count * kNonceBytes + data.size());
  stored += kMagic;
  stored += kVersion;
  stored += static_cast<char>(trail.count);
  for (std::size_t i = 0; i < trail.count; ++i)
    for (std::size_t byte = 0; byte < kNonceBytes; ++byte)
      stored += static_cast<char>(trail.nonces[i] >> (8 * byte));
  stored += data;
  return stored;
}

Result<Unwrapped> unwrap_record(std::string_view path, std::string_view stored) {
  const auto refuse = [&](const char* why) {
    return fail(Errc::corrupt, std::string(path) + ": " + why);
  };
  // Made by hand or by ZooKeeper itself (its root): nothing in it, so no harm in it.
  if (stored.empty()) return Unwrapped{};
  if (stored.size() < kHeaderBytes || stored[0] != kMagic)
    return refuse("not written by this program");
  if (stored[1] != kVersion) return refuse("written by a newer version of this program");
  const std::size_t count = static_cast<unsigned char>(stored[2]);
  const std::size_t begin = kHeaderBytes + count * kNonceBytes;
  if (count < 1 || count > WriteTrail::kCapacity || stored.size() < begin)
    return refuse("damaged envelope");
  Unwrapped record;
  record.trail.count = static_cast<std::uint8_t>(count);
  for (std::size_t i = 0; i < count; ++i)
    for (std::size_t byte = 0; byte < kNonceBytes; ++byte)
      record.trail.nonces[i] |=
          std::uint64_t{static_cast<unsigned char>(stored[kHeaderBytes + i * kNonceBytes + byte])}
          << (8 * byte);
  record.data = stored.substr(begin);
  return record;
}

}  // namespace godwit::coord
