// Where the directory's records stand, and their way to and from bytes. Pure
// functions; any thread.
#pragma once

#include <godwit/coord/directory.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

namespace godwit::coord {

// As ids stand in paths and messages: 16 digits, so that they sort as numbers do.
inline std::string hex16(std::uint64_t number) {
  std::string text(16, '0');
  for (auto digit = text.rbegin(); digit != text.rend(); ++digit, number >>= 4)
    *digit = "0123456789abcdef"[number & 15];
  return text;
}

class DirectoryPaths {
 public:
  explicit DirectoryPaths(std::string root) : root_(std::move(root)) {}

  const std::string& root() const { return root_; }
  std::string nodes() const { return root_ + "/nodes"; }
  std::string node(std::string_view name) const { return nodes() + "/" + encode_name(name); }
  // Exists as long as an agent is registered by that name and incarnation; what a write
  // checks that must not happen once it is gone. The node's record cannot tell: it is
  // rewritten with the load, and a successor's starts at version 0 like any other.
  std::string incarnation(std::string_view name, std::uint64_t number) const {
    return incarnations() + "/" + encode_name(name) + "." + hex16(number);
  }
  std::string incarnations() const { return root_ + "/incarnations"; }
  std::string migrations() const { return root_ + "/migrations"; }
  std::string active_moves() const { return migrations() + "/active"; }
  std::string active_move(std::uint64_t id) const { return active_moves() + "/" + hex16(id); }
  std::string past_moves() const { return migrations() + "/past"; }
  std::string past_move(std::uint64_t id) const { return past_moves() + "/" + hex16(id); }
  std::string dc_counter() const { return root_ + "/dc_counter"; }
  std::string dcs() const { return root_ + "/dcs"; }
  std::string dc(std::string_view name) const { return dcs() + "/" + encode_name(name); }
  std::string slots(std::string_view dc_name) const { return dc(dc_name) + "/slots"; }
  std::string groups(std::string_view dc_name) const { return dc(dc_name) + "/groups"; }
  std::string names(std::string_view dc_name) const { return dc(dc_name) + "/names"; }
  std::string endpoints(std::string_view dc_name) const { return dc(dc_name) + "/endpoints"; }
  std::string name(std::string_view dc_name, std::string_view name) const {
    return names(dc_name) + "/" + bucket_of_name(name) + "/" + encode_name(name);
  }
  std::string endpoint(std::string_view dc_name, std::uint32_t slot) const {
    return endpoints(dc_name) + "/" + bucket_of_slot(slot) + "/" + std::to_string(slot);
  }

 private:
  std::string root_;
};

template <typename T>
std::string pack(T record) {
  record.set_schema(kDirectorySchema);
  return record.SerializeAsString();
}

template <typename T>
Result<Entry<T>> unpack(std::string_view path, const Record& stored) {
  Entry<T> entry;
  if (!entry.record.ParseFromString(stored.data))
    return fail(Errc::corrupt, std::string(path) + " is not a record of the directory");
  if (entry.record.schema() > kDirectorySchema || entry.record.schema() == 0)
    return fail(Errc::corrupt,
                std::string(path) + " has schema " + std::to_string(entry.record.schema()) +
                    ", this program knows up to " + std::to_string(kDirectorySchema));
  entry.stat = stored.stat;
  return entry;
}

}  // namespace godwit::coord
