// CliProcess: the real `godwit`, run by a test. CliNode: an agent for it to talk to.
//
// Owner: a test, on one thread. What still runs is killed with its owner. Every wait has a limit,
// after which it fails the test.
#pragma once

#include <sys/types.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "support/agent_process.h"

namespace godwit::node::cli::test {

class CliProcess {
 public:
  struct Options {
    std::vector<std::string> arguments;  // without the program's name
    std::string input;                   // for its standard input, which then ends
    bool terminal = false;               // input and output are a terminal of 24 lines of 100
  };
  explicit CliProcess(Options options);
  ~CliProcess();
  CliProcess(const CliProcess&) = delete;
  CliProcess& operator=(const CliProcess&) = delete;

  /// Until its output, or its errors, contain the text.
  bool wait_for_output(const std::string& text);
  bool wait_for_errors(const std::string& text);
  /// Until it has ended: the exit status, 128 and the signal if one killed it, -1 after the limit.
  int wait();

  void type(const std::string& keys);  // terminal only
  void signal(int number);
  void stop();  // SIGSTOP, and waits until it stands still
  void wait_until_stopped();
  pid_t pid() const { return pid_; }
  /// The test's end of its terminal.
  int terminal() const { return out_; }

  /// What was written so far.
  const std::string& output() const { return output_; }
  const std::string& errors() const { return errors_; }

 private:
  template <typename Done>
  bool read_until(Done done);
  bool read_some(int timeout_ms);

  pid_t pid_ = -1;
  int out_ = -1, err_ = -1;
  int exit_fd_ = -1;  // pidfd
  int slave_ = -1;    // keeps the terminal alive after the program, to be looked at
  int status_ = -1;
  std::string output_, errors_;
};

/// What a command that ends by itself said.
struct Said {
  int status = -1;
  std::string output, errors;
  /// Its output as JSON; null, and a failed test, if it is none.
  nlohmann::json json() const;
};

/// Runs `godwit ARGUMENTS` to its end.
Said godwit_run(std::vector<std::string> arguments, std::string input = {});

/// A node "alpha" with the DC "demo", on a folder of its own.
class CliNode {
 public:
  CliNode();
  /// Whether the agent is ready; tests assert it first.
  bool ready() const { return agent_ != nullptr; }
  const std::string& run() const { return run_; }
  const std::string& folder() const { return folder_.path(); }
  test_support::AgentProcess& agent() { return *agent_; }

  /// `godwit ARGUMENTS --run RUN`, to its end. Options after the first `--` stay there.
  Said godwit(std::vector<std::string> arguments, std::string input = {}) const;
  /// The same, left running once it has said that its name is bound.
  std::unique_ptr<CliProcess> bound(std::vector<std::string> arguments) const;
  std::unique_ptr<CliProcess> start(std::vector<std::string> arguments,
                                    bool terminal = false) const;

 private:
  std::vector<std::string> with_run(std::vector<std::string> arguments) const;

  test_support::TemporaryFolder folder_;
  std::string run_;
  std::unique_ptr<test_support::AgentProcess> agent_;
};

}  // namespace godwit::node::cli::test
