#include "child_process.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>

extern char** environ;

namespace godwit::local_cluster {

namespace {

using Clock = std::chrono::steady_clock;

int milliseconds_until(Clock::time_point until) {
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - Clock::now()).count();
  return left < 0 ? 0 : static_cast<int>(left);
}

void close_fd(int& fd) {
  if (fd >= 0) ::close(fd);
  fd = -1;
}

[[noreturn]] void give_up(std::string_view why) {
  [[maybe_unused]] const auto written = ::write(STDERR_FILENO, why.data(), why.size());
  ::_exit(127);
}

// What the child does between fork and exec: nothing that could take a lock.
[[noreturn]] void become(int socket, int output_fd, int error_fd, pid_t parent,
                         const ChildOptions& options, char* const* arguments,
                         char* const* environment) {
  for (const int each : options.namespaces) {
    if (::setns(each, 0) != 0) give_up("cannot enter a namespace\n");
  }
  for (const int each : options.kept_descriptors) ::fcntl(each, F_SETFD, 0);
  // After the namespaces, since a change of credentials takes it back.
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(126);  // the parent died before the line above
  // A group of its own: ^C at the terminal is the owner's to handle, not the children's.
  ::setpgid(0, 0);
  ::dup2(socket, STDIN_FILENO);
  ::dup2(output_fd >= 0 ? output_fd : socket, STDOUT_FILENO);
  if (options.errors_to_output) ::dup2(STDOUT_FILENO, STDERR_FILENO);
  if (error_fd >= 0) ::dup2(error_fd, STDERR_FILENO);
  ::execve(arguments[0], arguments, environment);
  give_up("cannot execute the program\n");
}

}  // namespace

std::string ExitStatus::to_string() const {
  if (signal != 0) return "killed by signal " + std::to_string(signal);
  return "exit status " + std::to_string(code);
}

Result<ChildProcess> ChildProcess::start(std::vector<std::string> command, ChildOptions options) {
  std::vector<char*> arguments;
  arguments.reserve(command.size() + 1);
  for (std::string& each : command) arguments.push_back(each.data());
  arguments.push_back(nullptr);

  std::vector<std::string> added;
  for (const auto& [name, value] : options.environment) added.push_back(name + "=" + value);
  std::vector<char*> environment;
  for (std::string& each : added) environment.push_back(each.data());
  for (char** each = environ; *each != nullptr; ++each) environment.push_back(*each);
  environment.push_back(nullptr);

  int error_fd = -1, output_fd = -1;
  if (!options.error_file.empty()) {
    error_fd = ::open(options.error_file.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (error_fd < 0) return fail_errno("cannot open " + options.error_file);
  }
  if (!options.output_file.empty()) {
    output_fd = ::open(options.output_file.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (output_fd < 0) {
      auto failed = fail_errno("cannot open " + options.output_file);
      close_fd(error_fd);
      return failed;
    }
  }
  // One socket pair serves as both pipes: writing to a child that has ended gives an error that can
  // be asked for without a signal.
  std::array<int, 2> sockets{};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets.data()) != 0) {
    auto failed = fail_errno("cannot make a socket pair");
    close_fd(error_fd);
    close_fd(output_fd);
    return failed;
  }
  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid == 0) {
    become(sockets[1], output_fd, error_fd, parent, options, arguments.data(), environment.data());
  }
  const int fork_errno = errno;
  close_fd(error_fd);
  close_fd(output_fd);
  ::close(sockets[1]);
  if (pid < 0) {
    ::close(sockets[0]);
    errno = fork_errno;
    return fail_errno("cannot start " + command[0]);
  }
  ChildProcess child;
  child.pid_ = pid;
  child.pid_fd_ = static_cast<int>(::syscall(SYS_pidfd_open, pid, 0));
  child.output_ = sockets[0];
  child.input_ = ::fcntl(sockets[0], F_DUPFD_CLOEXEC, 0);
  return child;
}

ChildProcess::ChildProcess(ChildProcess&& other) noexcept {
  swap(other);
}

ChildProcess& ChildProcess::operator=(ChildProcess&& other) noexcept {
  ChildProcess taken(std::move(other));
  swap(taken);
  return *this;
}

void ChildProcess::swap(ChildProcess& other) noexcept {
  std::swap(pid_, other.pid_);
  std::swap(pid_fd_, other.pid_fd_);
  std::swap(input_, other.input_);
  std::swap(output_, other.output_);
  std::swap(unread_, other.unread_);
  std::swap(status_, other.status_);
}

ChildProcess::~ChildProcess() {
  if (pid_ > 0 && !ended()) {
    signal(SIGKILL);
    wait(std::chrono::seconds(10));
  }
  close_fd(pid_fd_);
  close_fd(input_);
  close_fd(output_);
}

void ChildProcess::read_output() {
  std::array<char, 4096> piece;
  while (output_ >= 0) {
    const ssize_t got = ::recv(output_, piece.data(), piece.size(), MSG_DONTWAIT);
    if (got > 0) {
      unread_.append(piece.data(), static_cast<std::size_t>(got));
    } else if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
      return;
    } else {
      close_fd(output_);
    }
  }
}

std::optional<std::string> ChildProcess::next_line() {
  if (unread_.find('\n') == std::string::npos) read_output();
  const auto end = unread_.find('\n');
  if (end == std::string::npos) return std::nullopt;
  std::string line = unread_.substr(0, end);
  unread_.erase(0, end + 1);
  return line;
}

std::optional<std::string> ChildProcess::wait_line(std::chrono::milliseconds limit) {
  const auto until = Clock::now() + limit;
  while (true) {
    if (auto line = next_line()) return line;
    if (output_ < 0) return std::nullopt;
    pollfd ready{output_, POLLIN, 0};
    const int left = milliseconds_until(until);
    if (left == 0 || (::poll(&ready, 1, left) < 0 && errno != EINTR)) return std::nullopt;
  }
}

bool ChildProcess::write_line(std::string_view line) {
  std::string bytes(line);
  bytes += '\n';
  return ::send(input_, bytes.data(), bytes.size(), MSG_NOSIGNAL) ==
         static_cast<ssize_t>(bytes.size());
}

void ChildProcess::end_input() noexcept {
  if (input_ >= 0) ::shutdown(input_, SHUT_WR);
  close_fd(input_);
}

void ChildProcess::signal(int number) noexcept {
  // Until it was waited for, the pid cannot have been given to another process.
  if (pid_ > 0 && !status_) ::kill(pid_, number);
}

void ChildProcess::pause() noexcept {
  if (pid_ <= 0 || status_) return;
  signal(SIGSTOP);
  siginfo_t info{};
  while (::waitid(P_PID, static_cast<id_t>(pid_), &info, WSTOPPED | WEXITED | WNOWAIT) != 0 &&
         errno == EINTR) {
  }
}

void ChildProcess::resume() noexcept {
  signal(SIGCONT);
}

std::optional<ExitStatus> ChildProcess::ended() {
  if (status_ || pid_ <= 0) return status_;
  int raw = 0;
  if (::waitpid(pid_, &raw, WNOHANG) != pid_) return std::nullopt;
  status_.emplace();
  if (WIFEXITED(raw)) status_->code = WEXITSTATUS(raw);
  if (WIFSIGNALED(raw)) status_->signal = WTERMSIG(raw);
  return status_;
}

std::optional<ExitStatus> ChildProcess::wait(std::chrono::milliseconds limit) {
  const auto until = Clock::now() + limit;
  while (true) {
    if (auto status = ended()) return status;
    const int left = milliseconds_until(until);
    if (left == 0) return std::nullopt;
    pollfd ready{pid_fd_, POLLIN, 0};
    // An old kernel has no pidfd: then poll() only waits a little.
    ::poll(&ready, 1, pid_fd_ >= 0 ? left : std::min(left, 20));
  }
}

ExitStatus ChildProcess::stop(std::chrono::milliseconds patience) {
  signal(SIGTERM);
  signal(SIGCONT);  // one that is paused would not see the other
  if (auto status = wait(patience)) return *status;
  signal(SIGKILL);
  const auto status = wait(std::chrono::seconds(10));
  return status.value_or(ExitStatus{});
}

}  // namespace godwit::local_cluster
