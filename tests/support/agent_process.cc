#include "support/agent_process.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <sstream>
#include <utility>

namespace godwit::test_support {

namespace {

constexpr std::chrono::seconds kPatience{20};

// Starts a program. Between fork and exec only what a threaded parent's child may call.
pid_t spawn(const std::vector<std::string>& arguments, int in, int out, int error,
            const std::string& notify = {}) {
  std::vector<char*> argv;
  for (const auto& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  const std::string variable = "NOTIFY_SOCKET=" + notify;
  std::vector<char*> env;
  for (char** each = environ; *each != nullptr; ++each) {
    if (std::strncmp(*each, "NOTIFY_SOCKET=", 14) != 0) env.push_back(*each);
  }
  if (!notify.empty()) env.push_back(const_cast<char*>(variable.c_str()));
  env.push_back(nullptr);
  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid != 0) return pid;
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(127);
  if (in >= 0) ::dup2(in, STDIN_FILENO);
  if (out >= 0) ::dup2(out, STDOUT_FILENO);
  if (error >= 0) ::dup2(error, STDERR_FILENO);
  ::execve(argv[0], argv.data(), env.data());
  ::_exit(127);
}

int wait_for_end(pid_t pid) {
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

// Kills a child that should be running, or have ended well: one that crashed, or ended because of
// what a sanitizer found, is a failure even if the test saw nothing of it.
void kill_sound(pid_t pid, const std::string& what, const std::function<std::string()>& log) {
  ::kill(pid, SIGKILL);
  const int status = wait_for_end(pid);
  if (status == 0 || status == 128 + SIGKILL) return;
  ADD_FAILURE() << what << " had ended by itself with status " << status << "\n" << log();
}

int milliseconds_until(std::chrono::steady_clock::time_point deadline) {
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
      deadline - std::chrono::steady_clock::now());
  return static_cast<int>(std::max<std::int64_t>(left.count(), 0));
}

}  // namespace

TemporaryFolder::TemporaryFolder() {
  std::string name = std::filesystem::temp_directory_path() / "gw-XXXXXX";
  if (::mkdtemp(name.data()) == nullptr) std::abort();
  path_ = name;
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

std::string program_path(const std::string& name) {
  return std::filesystem::read_symlink("/proc/self/exe").parent_path() / name;
}

std::unique_ptr<AgentProcess> AgentProcess::start(AgentOptions options) {
  std::unique_ptr<AgentProcess> agent(new AgentProcess(std::move(options)));
  if (!agent->launch()) return nullptr;
  return agent;
}

AgentProcess::~AgentProcess() {
  kill();
}

bool AgentProcess::launch() {
  static std::atomic<int> next{0};
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string name =
      "@gw-notify-" + std::to_string(::getpid()) + "-" + std::to_string(next++);
  std::memcpy(address.sun_path, name.data(), name.size());
  address.sun_path[0] = '\0';
  const int notify = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  ::bind(notify, reinterpret_cast<const sockaddr*>(&address),
         static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size()));

  std::vector<std::string> arguments = {
      program_path("godwitd"), "--node",           options_.node, "--run",       options_.run,
      "--directory",           options_.directory, "--state",     options_.state};
  arguments.insert(arguments.end(), options_.more.begin(), options_.more.end());
  const int log =
      ::open((options_.run + ".log").c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  pid_ = spawn(arguments, -1, log, log, name);
  ::close(log);
  const int pidfd = static_cast<int>(::syscall(SYS_pidfd_open, pid_, 0));

  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  bool ready = false;
  while (!ready) {
    std::array<pollfd, 2> fds = {pollfd{notify, POLLIN, 0}, pollfd{pidfd, POLLIN, 0}};
    if (::poll(fds.data(), fds.size(), milliseconds_until(deadline)) <= 0) break;
    std::array<char, 256> text{};
    if (::recv(notify, text.data(), text.size() - 1, MSG_DONTWAIT) > 0) {
      ready = std::strstr(text.data(), "READY=1") != nullptr;
    } else if (fds[1].revents != 0) {
      break;
    }
  }
  ::close(pidfd);
  ::close(notify);
  if (!ready) {
    std::fprintf(stderr, "godwitd did not become ready:\n%s", this->log().c_str());
    end(SIGKILL);
  }
  return ready;
}

int AgentProcess::end(int signal) {
  if (pid_ <= 0) return -1;
  ::kill(pid_, signal);
  const int status = wait_for_end(pid_);
  pid_ = -1;
  return status;
}

int AgentProcess::stop() {
  return end(SIGTERM);
}
void AgentProcess::kill() {
  if (pid_ <= 0) return;
  kill_sound(std::exchange(pid_, -1), "godwitd", [this] { return log(); });
}

std::string AgentProcess::log() const {
  std::ifstream file(options_.run + ".log");
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

AgentProcess::Ended AgentProcess::run_to_end(const std::vector<std::string>& arguments) {
  std::array<int, 2> pipe{};
  if (::pipe2(pipe.data(), O_CLOEXEC) != 0) return {-1, "no pipe"};
  std::vector<std::string> all = {program_path("godwitd")};
  all.insert(all.end(), arguments.begin(), arguments.end());
  const pid_t pid = spawn(all, -1, pipe[1], pipe[1]);
  ::close(pipe[1]);
  std::string output;
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  std::array<char, 4096> text;
  while (true) {
    pollfd fd{pipe[0], POLLIN, 0};
    if (::poll(&fd, 1, milliseconds_until(deadline)) <= 0) {
      ::kill(pid, SIGKILL);
      break;
    }
    const ssize_t got = ::read(pipe[0], text.data(), text.size());
    if (got <= 0) break;
    output.append(text.data(), static_cast<std::size_t>(got));
  }
  ::close(pipe[0]);
  return {wait_for_end(pid), output};
}

ChildProcess::ChildProcess(const std::vector<std::string>& arguments)
    : program_(arguments.front()) {
  std::array<int, 2> in{}, out{};
  if (::pipe2(in.data(), O_CLOEXEC) != 0 || ::pipe2(out.data(), O_CLOEXEC) != 0) std::abort();
  pid_ = spawn(arguments, in[0], out[1], -1);
  ::close(in[0]);
  ::close(out[1]);
  in_ = in[1];
  out_ = out[0];
}

ChildProcess::~ChildProcess() {
  kill();
  if (in_ >= 0) ::close(in_);
  ::close(out_);
}

std::optional<std::string> ChildProcess::read_line() {
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  while (true) {
    if (const auto end = pending_.find('\n'); end != std::string::npos) {
      std::string line = pending_.substr(0, end);
      pending_.erase(0, end + 1);
      return line;
    }
    pollfd fd{out_, POLLIN, 0};
    if (::poll(&fd, 1, milliseconds_until(deadline)) <= 0) return std::nullopt;
    std::array<char, 4096> text;
    const ssize_t got = ::read(out_, text.data(), text.size());
    if (got <= 0) return std::nullopt;
    pending_.append(text.data(), static_cast<std::size_t>(got));
  }
}

void ChildProcess::write_line(const std::string& line) {
  const std::string text = line + "\n";
  // Short enough for the pipe; a child that is gone is the test's affair.
  [[maybe_unused]] const ssize_t written = ::write(in_, text.data(), text.size());
}

void ChildProcess::kill() {
  if (pid_ <= 0) return;
  kill_sound(std::exchange(pid_, -1), program_, [] { return std::string(); });
}

int ChildProcess::close_and_wait() {
  ::close(in_);
  in_ = -1;
  const int status = wait_for_end(pid_);
  pid_ = -1;
  return status;
}

}  // namespace godwit::test_support
