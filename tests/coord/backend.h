// The services that the suites of coord/ run over: each opens coordinators of one
// private store. A test owns one; it is made before the test has threads.
#pragma once

#include <godwit/coord/coordinator.h>

#include <chrono>
#include <functional>
#include <memory>
#include <ostream>
#include <string>

namespace godwit::coord {

class Backend {
 public:
  virtual ~Backend() = default;
  // Connected when it returns; null (with a test failure) if that took too long.
  std::unique_ptr<Coordinator> open(SessionHandler on_session = {});
  virtual std::chrono::milliseconds session_timeout() const = 0;
  // Not empty: why this machine cannot run it.
  std::string skip_reason;

 protected:
  virtual std::unique_ptr<Coordinator> make(SessionHandler on_session) = 0;
};

struct BackendKind {
  const char* name;
  std::unique_ptr<Backend> (*make)();
};
inline void PrintTo(const BackendKind& kind, std::ostream* out) {
  *out << kind.name;
}

std::unique_ptr<Backend> make_local_backend();
std::unique_ptr<Backend> make_zookeeper_backend();

// A folder that goes with its owner.
class TemporaryFolder {
 public:
  TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  ~TemporaryFolder();
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// Generous, for what must happen: only a failing test waits so long.
inline Deadline soon() {
  return after(std::chrono::seconds(20));
}

// Waits until `condition` holds, looking every few milliseconds. For what can only be
// looked at, not waited for.
bool eventually(const std::function<bool()>& condition,
                std::chrono::milliseconds limit = std::chrono::seconds(20));

}  // namespace godwit::coord
