#include "agent/process_table.h"

#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

namespace godwit::node {

namespace {
// glibc has no pidfd_open before 2.36.
int open_pidfd(std::uint32_t pid) {
  return static_cast<int>(::syscall(SYS_pidfd_open, static_cast<pid_t>(pid), 0));
}

std::int64_t unix_ms() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

constexpr std::size_t kMaxProgramName = 255;
}  // namespace

bool process_vanished(std::uint32_t pid) {
  return pid != 0 && ::kill(static_cast<pid_t>(pid), 0) != 0 && errno == ESRCH;
}

ProcessTable::ProcessTable(EventLoop& loop, std::chrono::milliseconds reattach_grace, Gone gone)
    : loop_(loop), reattach_grace_(reattach_grace), gone_(std::move(gone)) {}

ProcessTable::~ProcessTable() {
  for (auto& [number, entry] : processes_) {
    loop_.cancel(entry->grace);
    if (entry->pidfd < 0) continue;
    loop_.unwatch(entry->pidfd);
    ::close(entry->pidfd);
  }
}

Result<SessionNumber> ProcessTable::attach(Session& session, const endpoints::proto::Hello& hello) {
  const std::uint64_t number = hello.process().process();
  if (number == 0) return fail(Errc::invalid_argument, "a process's number must not be 0");
  auto& entry = processes_[number];
  SessionNumber replaced = 0;
  if (entry != nullptr) {
    if (entry->process.pid != session.pid) {
      return fail(Errc::name_taken, "another process is attached under this number");
    }
    replaced = entry->process.session;
    loop_.cancel(entry->grace);
  } else {
    auto fresh = std::make_unique<Entry>();
    fresh->process.number = number;
    fresh->process.pid = session.pid;
    fresh->process.uid = session.uid;
    fresh->process.program = hello.process().program().substr(0, kMaxProgramName);
    fresh->process.attached_unix_ms = unix_ms();
    // Without a pid (a foreign PID namespace) or pidfds, the connection's end must do.
    fresh->pidfd = session.pid == 0 ? -1 : open_pidfd(session.pid);
    if (fresh->pidfd < 0 && errno == ESRCH && session.pid != 0) {
      processes_.erase(number);
      return fail(Errc::system, "the process has ended");
    }
    if (fresh->pidfd >= 0) {
      auto watched = loop_.watch(fresh->pidfd, EPOLLIN,
                                 [this, number](std::uint32_t) { end(number, ProcessEnd::died); });
      if (!watched) {
        ::close(fresh->pidfd);
        fresh->pidfd = -1;
      }
    }
    entry = std::move(fresh);
  }
  entry->process.session = session.number;
  entry->process.claiming = hello.again();
  session.process = number;
  return replaced;
}

void ProcessTable::detach(std::uint64_t number) {
  end(number, ProcessEnd::detached);
}

void ProcessTable::session_closed(const Session& session) {
  const auto found = processes_.find(session.process);
  if (found == processes_.end() || found->second->process.session != session.number) return;
  Entry& entry = *found->second;
  entry.process.session = 0;
  // An exiting process closes its descriptors before its pidfd tells, so this is no death yet.
  const std::uint64_t number = session.process;
  const auto grace = entry.pidfd >= 0 ? reattach_grace_ : std::chrono::milliseconds(0);
  entry.grace = loop_.after(grace, [this, number] { end(number, ProcessEnd::died); });
}

void ProcessTable::end(std::uint64_t number, ProcessEnd how) {
  const auto extracted = processes_.extract(number);
  if (extracted.empty()) return;
  Entry& entry = *extracted.mapped();
  loop_.cancel(entry.grace);
  if (entry.pidfd >= 0) {
    loop_.unwatch(entry.pidfd);
    ::close(entry.pidfd);
  }
  gone_(entry.process, how);
}

Process* ProcessTable::find(std::uint64_t number) {
  const auto found = processes_.find(number);
  return found == processes_.end() ? nullptr : &found->second->process;
}

std::uint64_t ProcessTable::endpoints() const noexcept {
  std::uint64_t count = 0;
  for (const auto& [number, entry] : processes_) count += entry->process.held.size();
  return count;
}

void ProcessTable::for_each(const std::function<void(Process&)>& each) {
  for (auto& [number, entry] : processes_) each(entry->process);
}

}  // namespace godwit::node
