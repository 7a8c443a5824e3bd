// Names of nodes, DCs and endpoints, and how they become path components. Pure
// functions; any thread.
//
// A name is 1 to 255 bytes of valid UTF-8 without control characters (U+0000 to
// U+001F, U+007F to U+009F). It may hold '/': "web/fs".
//
// In a path, each byte but ASCII letters, digits, '-', '_', '~', ':' and '.' (not as
// the first byte) becomes %XX, upper-case: "web/fs" → "web%2Ffs", ".." → "%2E.". So
// a component is plain ASCII, never "." or "..", and different names never collide.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include <godwit/coord/error.h>

namespace godwit::coord {

inline constexpr std::size_t kMaxNameBytes = 255;

// `kind` ("node name", "DC name", ...) begins the message of a bad_argument.
Result<void> validate_name(std::string_view kind, std::string_view name);

// Text for people as a record can hold it: at most `limit` bytes of whole characters,
// '?' for what is no valid UTF-8 or a control character.
std::string readable_text(std::string_view text, std::size_t limit);

std::string encode_name(std::string_view name);
// The inverse; corrupt for what encode_name never produces.
Result<std::string> decode_name(std::string_view component);

// The endpoints and names of a DC stand in kBuckets sub-folders, so that no list of
// children comes near ZooKeeper's packet limit (1 MiB, jute.maxbuffer): with the
// longest names that is some 300,000 names, with usual ones several millions.
inline constexpr std::uint32_t kBuckets = 256;
// "00" to "ff". Of a name: its 64-bit FNV-1a hash modulo kBuckets; of a slot: the slot
// modulo kBuckets.
std::string bucket_of_name(std::string_view name);
std::string bucket_of_slot(std::uint32_t slot);
std::string bucket_component(std::uint32_t bucket);

}  // namespace godwit::coord
