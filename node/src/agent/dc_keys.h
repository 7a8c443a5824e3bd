// DcKeys: the keys of the DCs that this node belongs to, one file of mode 0600 each, in
// hexadecimal. The directory holds only a key's id; the key itself travels by `godwit dc key
// export` and `import`.
//
// Owner: the Agent; several agents of one machine may share the folder. Loop's thread.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "godwit/error.h"
#include "godwit/fabric/identity.h"

namespace godwit::node {

class DcKeys {
 public:
  /// Makes the folder. Errors: invalid_argument (others can read it), permission_denied.
  static Result<DcKeys> open(std::string folder);

  /// not_found if this node has none.
  Result<fabric::DcKey> load(std::string_view dc) const;
  /// The key of that DC, made now unless the file exists.
  Result<fabric::DcKey> load_or_make(std::string_view dc) const;
  /// Replaces the file.
  Result<void> store(std::string_view dc, const fabric::DcKey& key) const;
  void remove(std::string_view dc) const;

  const std::string& folder() const noexcept { return folder_; }

  /// Names a key without giving it away: a hash.
  static std::string id_of(const fabric::DcKey& key);
  static std::string to_hex(const fabric::DcKey& key);
  static Result<fabric::DcKey> from_hex(std::string_view text);

 private:
  explicit DcKeys(std::string folder) : folder_(std::move(folder)) {}
  std::string path_of(std::string_view dc) const;
  Result<std::string> write_aside(std::string_view dc, const fabric::DcKey& key) const;

  std::string folder_;
};

}  // namespace godwit::node
