// TemporaryDirectory: a new folder under $TMPDIR (or /tmp) of mode 0700, removed with all that is
// in it by the destructor. Any thread, one at a time.
#pragma once

#include <string>
#include <string_view>

#include "godwit/error.h"

namespace godwit::local_cluster {

class TemporaryDirectory {
 public:
  /// "/tmp/PREFIX-XXXXXX". The path stays short, because Unix sockets are put into it.
  static Result<TemporaryDirectory> make(std::string_view prefix);
  TemporaryDirectory(TemporaryDirectory&& other) noexcept;
  TemporaryDirectory& operator=(TemporaryDirectory&& other) noexcept;
  ~TemporaryDirectory();

  const std::string& path() const noexcept { return path_; }
  std::string file(std::string_view name) const { return path_ + "/" + std::string(name); }
  /// Leaves the folder where it is, for somebody who wants to look at it.
  void keep() noexcept { kept_ = true; }

 private:
  explicit TemporaryDirectory(std::string path) : path_(std::move(path)) {}
  std::string path_;
  bool kept_ = false;
};

}  // namespace godwit::local_cluster
