#include "agent/programs.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <spdlog/spdlog.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string_view>
#include <utility>

#include "godwit/coord/moves.h"

namespace godwit::node {

namespace {

using namespace std::chrono_literals;

constexpr auto kEndLimit = 2s;

// glibc has neither before 2.36.
int open_pidfd(std::uint32_t pid) {
  return static_cast<int>(::syscall(SYS_pidfd_open, static_cast<pid_t>(pid), 0));
}
void send_signal(int pidfd, int signal) {
  ::syscall(SYS_pidfd_send_signal, pidfd, signal, nullptr, 0);
}

// The agent's environment, but for what is the agent's alone.
std::vector<std::string> environment_for(const std::string& run_directory, std::uint64_t move) {
  std::vector<std::string> result = {"GODWIT_RUN=" + run_directory,
                                     "GODWIT_MOVE=" + coord::format_move_id(move)};
  for (char** each = environ; *each != nullptr; ++each) {
    const std::string_view variable(*each);
    bool replaced = false;
    for (const std::string_view name :
         {"GODWIT_RUN=", "GODWIT_MOVE=", "NOTIFY_SOCKET=", "STATE_DIRECTORY=", "WATCHDOG_"}) {
      replaced = replaced || variable.starts_with(name);
    }
    if (!replaced) result.emplace_back(variable);
  }
  return result;
}

std::vector<char*> pointers(std::vector<std::string>& strings) {
  std::vector<char*> result;
  for (std::string& each : strings) result.push_back(each.data());
  result.push_back(nullptr);
  return result;
}

// What posix_spawn is told, and forgets at the end.
struct SpawnSettings {
  posix_spawnattr_t attributes;
  posix_spawn_file_actions_t files;

  SpawnSettings() {
    ::posix_spawnattr_init(&attributes);
    ::posix_spawn_file_actions_init(&files);
    // The agent has signals blocked for its signalfd.
    sigset_t signals;
    ::sigemptyset(&signals);
    ::posix_spawnattr_setsigmask(&attributes, &signals);
    ::sigfillset(&signals);
    ::posix_spawnattr_setsigdefault(&attributes, &signals);
    ::posix_spawnattr_setflags(&attributes,
                               POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    ::posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    ::posix_spawn_file_actions_adddup2(&files, STDERR_FILENO, STDOUT_FILENO);
  }
  ~SpawnSettings() {
    ::posix_spawn_file_actions_destroy(&files);
    ::posix_spawnattr_destroy(&attributes);
  }
  SpawnSettings(const SpawnSettings&) = delete;
  SpawnSettings& operator=(const SpawnSettings&) = delete;
};

std::string describe_end(const siginfo_t& info) {
  if (info.si_code == CLD_EXITED) return "ended with status " + std::to_string(info.si_status);
  return "was ended by signal " + std::to_string(info.si_status);
}

}  // namespace

Programs::Programs(EventLoop& loop, ProgramSettings settings, Ended ended)
    : loop_(loop), settings_(std::move(settings)), ended_(std::move(ended)) {}

Programs::~Programs() {
  for (auto& [number, child] : children_) {
    loop_.cancel(child.kill_timer);
    loop_.unwatch(child.pidfd);
    ::close(child.pidfd);
  }
}

Result<void> Programs::start(const std::string& program, std::uint64_t move) {
  const auto found = commands().find(program);
  if (found == commands().end()) {
    return fail(Errc::not_found, "no process of program '" + program +
                                     "' stands by, and no command is configured for it");
  }
  std::vector<std::string> arguments = found->second;
  std::vector<std::string> variables = environment_for(settings_.run_directory, move);
  const SpawnSettings spawn;
  pid_t pid = -1;
  const int error = ::posix_spawn(&pid, arguments.front().c_str(), &spawn.files, &spawn.attributes,
                                  pointers(arguments).data(), pointers(variables).data());
  if (error != 0) {
    return fail(Errc::system, "cannot start " + arguments.front() + ": " + std::strerror(error));
  }
  // Before it has a second thread: it has not begun to link yet.
  if (::getpriority(PRIO_PROCESS, 0) != settings_.nice) {
    ::setpriority(PRIO_PROCESS, static_cast<id_t>(pid), settings_.nice);
  }
  spdlog::info("move {}: started {} as process {}", coord::format_move_id(move), arguments.front(),
               pid);
  auto watched = watch(static_cast<std::uint32_t>(pid), move, true);
  if (!watched) {
    // What cannot be watched cannot be ended or reaped in time.
    ::kill(pid, SIGKILL);
    ::waitpid(pid, nullptr, 0);
  }
  return watched;
}

Result<void> Programs::watch(std::uint32_t pid, std::uint64_t move, bool ours) {
  const int pidfd = open_pidfd(pid);
  if (pidfd < 0) return fail_errno("cannot watch process " + std::to_string(pid));
  const std::uint64_t number = next_++;
  auto watched = loop_.watch(pidfd, EPOLLIN, [this, number](std::uint32_t) { on_exit(number); });
  if (!watched) {
    ::close(pidfd);
    return watched;
  }
  children_[number] = {.pid = pid, .pidfd = pidfd, .move = move, .ours = ours};
  return {};
}

void Programs::on_exit(std::uint64_t number) {
  auto ended = children_.extract(number);
  if (ended.empty()) return;
  Child& child = ended.mapped();
  std::string how = "ended";
  siginfo_t info{};
  if (child.ours && ::waitid(P_PID, static_cast<id_t>(child.pid), &info, WEXITED | WNOHANG) == 0 &&
      info.si_pid != 0) {
    how = describe_end(info);
  }
  loop_.cancel(child.kill_timer);
  loop_.unwatch(child.pidfd);
  ::close(child.pidfd);
  spdlog::info("process {} that was started for a move {}", child.pid, how);
  ended_(child.move, how);
}

std::uint32_t Programs::pid_of(std::uint64_t move) const {
  for (const auto& [number, child] : children_) {
    if (child.move == move && child.ours) return child.pid;
  }
  return 0;
}

bool Programs::is_ending(std::uint32_t pid) const {
  for (const auto& [number, child] : children_) {
    if (child.pid == pid) return child.ending;
  }
  return false;
}

void Programs::end(std::uint64_t move) {
  for (auto& [number, child] : children_) {
    if (child.move == move) terminate(child, number);
  }
}

void Programs::end_process(std::uint32_t pid) {
  if (pid == 0) return;
  for (auto& [number, child] : children_) {
    if (child.pid == pid) return terminate(child, number);
  }
  if (watch(pid, 0, false)) terminate(children_.rbegin()->second, children_.rbegin()->first);
}

void Programs::terminate(Child& child, std::uint64_t number) {
  if (std::exchange(child.ending, true)) return;
  send_signal(child.pidfd, SIGTERM);
  child.kill_timer = loop_.after(kEndLimit, [this, number] {
    const auto left = children_.find(number);
    if (left == children_.end()) return;
    left->second.kill_timer = 0;
    send_signal(left->second.pidfd, SIGKILL);
  });
}

}  // namespace godwit::node
