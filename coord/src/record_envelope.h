// The envelope that ZooKeeper records are stored in: the trail of write nonces before
// the data. Pure functions; any thread.
//
//   byte 0      'G'
//   byte 1      envelope version, 1
//   byte 2      n, the nonces that follow (1 to WriteTrail::kCapacity)
//   then        n nonces of 8 bytes, little-endian, newest first
//   then        the record's data
#pragma once

#include <godwit/coord/coordinator.h>

#include <string>
#include <string_view>

namespace godwit::coord {

// `trail` with `nonce` before it, its oldest dropped if it is full.
WriteTrail extend_trail(std::uint64_t nonce, const WriteTrail& trail);
std::string wrap_record(const WriteTrail& trail, std::string_view data);

struct Unwrapped {
  WriteTrail trail;
  std::string data;
};
// Empty stored bytes are an empty record without a trail. Errors: corrupt.
Result<Unwrapped> unwrap_record(std::string_view path, std::string_view stored);

}  // namespace godwit::coord
