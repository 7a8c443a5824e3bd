// A godwitd for tests: a real process on folders of the test, killed with its owner.
//
// Owner: a test, on one thread.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace godwit::test_support {

/// A folder under the system's temporary one, removed at the end.
class TemporaryFolder {
 public:
  TemporaryFolder();
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

/// A program that stands beside the running test (BUILD/bin).
std::string program_path(const std::string& name);

struct AgentOptions {
  std::string node;
  std::string run;                // its run directory
  std::string directory;          // "local:PATH", "zookeeper:..."
  std::string state;              // agents that share it share the DCs' keys
  std::vector<std::string> more;  // further arguments
};

class AgentProcess {
 public:
  /// Starts one and waits until it says that it is ready. Null, with its log on stderr, if it ends
  /// or is not ready within 20 s.
  static std::unique_ptr<AgentProcess> start(AgentOptions options);
  AgentProcess(const AgentProcess&) = delete;
  AgentProcess& operator=(const AgentProcess&) = delete;
  ~AgentProcess();

  pid_t pid() const { return pid_; }
  const std::string& run() const { return options_.run; }
  const std::string& node() const { return options_.node; }

  int stop();     // SIGTERM, and waits; the exit status
  void kill();    // SIGKILL, and waits; a failure of the test if it had crashed before
  bool launch();  // again, after stop or kill, with the same options
  std::string log() const;

  /// Runs one that is expected to end by itself; its exit status and what it wrote to stderr.
  struct Ended {
    int status;
    std::string output;
  };
  static Ended run_to_end(const std::vector<std::string>& arguments);

 private:
  explicit AgentProcess(AgentOptions options) : options_(std::move(options)) {}
  int end(int signal);

  AgentOptions options_;
  pid_t pid_ = -1;
};

/// A child process with pipes to its standard input and output, killed with its owner.
class ChildProcess {
 public:
  explicit ChildProcess(const std::vector<std::string>& arguments);
  ~ChildProcess();
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  /// The next line that it writes; nullopt at its end or after 20 s.
  std::optional<std::string> read_line();
  void write_line(const std::string& line);  // to its standard input
  void kill();                               // SIGKILL, and waits; as that of an agent
  int close_and_wait();                      // ends its standard input; the exit status
  pid_t pid() const { return pid_; }

 private:
  std::string program_;
  pid_t pid_ = -1;
  int in_ = -1, out_ = -1;
  std::string pending_;
};

}  // namespace godwit::test_support
