#include "node/cli/cli_process.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <utility>

namespace godwit::node::cli::test {
namespace {

// Generous: sanitized programs on a busy machine.
constexpr std::chrono::seconds kLimit{40};

std::array<int, 2> make_pipe() {
  std::array<int, 2> ends{-1, -1};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) std::abort();
  return ends;
}

void write_all(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t put = ::write(fd, text.data(), text.size());
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0) return;  // it ended without reading: its exit status tells
    text.remove_prefix(static_cast<std::size_t>(put));
  }
}

}  // namespace

CliProcess::CliProcess(Options options) {
  const std::string program = test_support::program_path("godwit");
  std::vector<char*> argv = {const_cast<char*>(program.c_str())};
  for (const std::string& argument : options.arguments)
    argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  std::vector<char*> env;
  for (char** each = environ; *each != nullptr; ++each) {
    const std::string_view variable(*each);
    if (!variable.starts_with("GODWIT_") && !variable.starts_with("TERM=")) env.push_back(*each);
  }
  std::string terminal_type = "TERM=xterm";
  env.push_back(terminal_type.data());
  env.push_back(nullptr);

  const auto in = make_pipe();
  const auto out = make_pipe();
  const auto err = make_pipe();
  int master = -1;
  if (options.terminal) {
    winsize size{.ws_row = 24, .ws_col = 100, .ws_xpixel = 0, .ws_ypixel = 0};
    if (::openpty(&master, &slave_, nullptr, nullptr, &size) != 0) std::abort();
    ::fcntl(master, F_SETFD, FD_CLOEXEC);
    ::fcntl(slave_, F_SETFD, FD_CLOEXEC);
  }
  const pid_t parent = ::getpid();
  pid_ = ::fork();
  if (pid_ == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != parent) ::_exit(127);
    if (options.terminal) {
      ::setsid();
      ::ioctl(slave_, TIOCSCTTY, 0);
    }
    ::dup2(options.terminal ? slave_ : in[0], STDIN_FILENO);
    ::dup2(options.terminal ? slave_ : out[1], STDOUT_FILENO);
    ::dup2(err[1], STDERR_FILENO);
    ::execve(argv[0], argv.data(), env.data());
    ::_exit(127);
  }
  if (pid_ < 0) std::abort();
  exit_fd_ = static_cast<int>(::syscall(SYS_pidfd_open, pid_, 0));
  ::close(in[0]);
  ::close(out[1]);
  ::close(err[1]);
  err_ = err[0];
  if (options.terminal) {
    ::close(out[0]);
    out_ = master;
  } else {
    out_ = out[0];
    // Inputs of these tests fit into the pipe, or are read before anything is written.
    write_all(in[1], options.input);
  }
  ::close(in[1]);
}

CliProcess::~CliProcess() {
  if (status_ < 0) {
    ::kill(pid_, SIGKILL);
    ::kill(pid_, SIGCONT);
    while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
    }
  }
  for (const int fd : {out_, err_, exit_fd_, slave_})
    if (fd >= 0) ::close(fd);
}

// One round of reading; false when both streams have ended or nothing came in time.
bool CliProcess::read_some(int timeout_ms) {
  std::array<pollfd, 3> ready = {{{out_, POLLIN, 0}, {err_, POLLIN, 0}, {exit_fd_, POLLIN, 0}}};
  while (::poll(ready.data(), ready.size(), timeout_ms) < 0 && errno == EINTR) {
  }
  bool any = false;
  std::array<char, 65536> piece{};
  for (const std::size_t which : {0U, 1U}) {
    if ((ready[which].revents & (POLLIN | POLLHUP)) == 0) continue;
    int& fd = which == 0 ? out_ : err_;
    const ssize_t got = ::read(fd, piece.data(), piece.size());
    if (got > 0) {
      (which == 0 ? output_ : errors_).append(piece.data(), static_cast<std::size_t>(got));
      any = true;
    } else {
      ::close(std::exchange(fd, -1));
      any = true;
    }
  }
  // It has ended and nothing is left to read.
  return any || ready[2].revents == 0;
}

template <typename Done>
bool CliProcess::read_until(Done done) {
  const auto deadline = std::chrono::steady_clock::now() + kLimit;
  while (!done()) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        deadline - std::chrono::steady_clock::now());
    if (left.count() <= 0) {
      ADD_FAILURE() << "godwit did not go on in time; output:\n"
                    << output_ << "\nerrors:\n"
                    << errors_;
      return false;
    }
    if (!read_some(static_cast<int>(left.count()))) return done();
  }
  return true;
}

bool CliProcess::wait_for_output(const std::string& text) {
  return read_until([&] { return output_.find(text) != std::string::npos; });
}

bool CliProcess::wait_for_errors(const std::string& text) {
  return read_until([&] { return errors_.find(text) != std::string::npos; });
}

int CliProcess::wait() {
  if (status_ >= 0) return status_;
  const auto ended = [&] {
    pollfd exit{exit_fd_, POLLIN, 0};
    return ::poll(&exit, 1, 0) == 1;
  };
  if (!read_until(ended)) return -1;
  while (read_some(0)) {
    pollfd rest[2] = {{out_, POLLIN, 0}, {err_, POLLIN, 0}};
    if (::poll(rest, 2, 0) <= 0) break;
  }
  int status = 0;
  while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
  status_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return status_;
}

void CliProcess::type(const std::string& keys) {
  write_all(out_, keys);
}

void CliProcess::signal(int number) {
  ::kill(pid_, number);
}

void CliProcess::stop() {
  signal(SIGSTOP);
  wait_until_stopped();
}

void CliProcess::wait_until_stopped() {
  siginfo_t info{};
  while (::waitid(P_PID, static_cast<id_t>(pid_), &info, WSTOPPED | WNOWAIT) < 0 &&
         errno == EINTR) {
  }
}

nlohmann::json Said::json() const {
  auto document = nlohmann::json::parse(output, nullptr, false);
  if (document.is_discarded()) {
    ADD_FAILURE() << "no JSON: " << output << "\nerrors: " << errors;
    return nullptr;
  }
  return document;
}

Said godwit_run(std::vector<std::string> arguments, std::string input) {
  CliProcess process({.arguments = std::move(arguments), .input = std::move(input)});
  Said said;
  said.status = process.wait();
  said.output = process.output();
  said.errors = process.errors();
  return said;
}

CliNode::CliNode() : run_(folder_.path() + "/run") {
  test_support::AgentOptions options;
  options.node = "alpha";
  options.run = run_;
  options.directory = "local:" + folder_.path() + "/directory";
  options.state = folder_.path() + "/state";
  options.more = {"--create-dc", "demo"};
  agent_ = test_support::AgentProcess::start(options);
}

std::vector<std::string> CliNode::with_run(std::vector<std::string> arguments) const {
  const auto end = std::find(arguments.begin(), arguments.end(), "--");
  arguments.insert(end, {"--run", run_});
  return arguments;
}

Said CliNode::godwit(std::vector<std::string> arguments, std::string input) const {
  return godwit_run(with_run(std::move(arguments)), std::move(input));
}

std::unique_ptr<CliProcess> CliNode::start(std::vector<std::string> arguments,
                                           bool terminal) const {
  return std::make_unique<CliProcess>(CliProcess::Options{
      .arguments = with_run(std::move(arguments)), .input = {}, .terminal = terminal});
}

std::unique_ptr<CliProcess> CliNode::bound(std::vector<std::string> arguments) const {
  auto process = start(std::move(arguments));
  EXPECT_TRUE(process->wait_for_errors("godwit: bound ")) << process->errors();
  return process;
}

}  // namespace godwit::node::cli::test
