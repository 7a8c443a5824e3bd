// WorkerLine: what a worker process says to the one that started it, as a line of text:
// "WHAT key=value key=value". Values have no spaces. A plain value; any thread.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

namespace godwit::local_cluster {

class WorkerLine {
 public:
  explicit WorkerLine(std::string what) : what_(std::move(what)) {}
  static WorkerLine parse(std::string_view line);

  WorkerLine& with(std::string key, std::string_view value);
  WorkerLine& with(std::string key, std::uint64_t value) {
    return with(std::move(key), std::string_view(std::to_string(value)));
  }

  const std::string& what() const noexcept { return what_; }
  /// Empty or 0 if there is no such key.
  std::string text(const std::string& key) const;
  std::uint64_t number(const std::string& key) const;
  std::string to_string() const;

  /// Prints the line at once on the standard output.
  void say() const;

 private:
  std::string what_;
  std::map<std::string, std::string> values_;
};

/// The next line that the starter wrote, if there is one; does not wait. `closed` tells that the
/// starter is gone or has closed its end.
struct Command {
  std::string line;
  bool closed = false;
};
Command read_command();

}  // namespace godwit::local_cluster
