// Where the directory's records stand, and their way to and from bytes. Pure
// functions; any thread.
#pragma once

#include <godwit/coord/directory.h>

#include <string>
#include <string_view>
#include <utility>

namespace godwit::coord {

class DirectoryPaths {
 public:
  explicit DirectoryPaths(std::string root) : root_(std::move(root)) {}

  const std::string& root() const { return root_; }
  std::string nodes() const { return root_ + "/nodes"; }
  std::string node(std::string_view name) const { return nodes() + "/" + encode_name(name); }
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
