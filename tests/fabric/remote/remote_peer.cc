#include "fabric/remote/remote_peer.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>

#include "fabric/remote/server.h"

namespace godwit::fabric::testing {

Result<std::unique_ptr<RemotePeer>> RemotePeer::start() {
  if (const char* where = std::getenv("GODWIT_FABRIC_PEER")) {
    const auto control = connect_to(where);
    if (!control) return tl::make_unexpected(control.error());
    return std::unique_ptr<RemotePeer>(new RemotePeer(*control, -1));
  }
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
    return fail_errno("no socket pair");
  }
  const auto process = start_session(ends[1]);
  ::close(ends[1]);
  std::unique_ptr<RemotePeer> peer(new RemotePeer(ends[0], process.value_or(-1)));
  if (!process) return tl::make_unexpected(process.error());
  return peer;
}

RemotePeer::~RemotePeer() {
  if (process_ <= 0) return;
  ::kill(process_, SIGKILL);
  waitpid(process_, nullptr, 0);
}

void RemotePeer::kill() {
  control_.send("die");
  killed_ = true;
}

void RemotePeer::finish() {
  if (killed_) return;
  tell("end");
  if (process_ <= 0) return;
  shutdown(control_.fd(), SHUT_WR);
  pollfd ended{static_cast<int>(syscall(SYS_pidfd_open, process_, 0)), POLLIN, 0};
  ASSERT_GE(ended.fd, 0);
  const int ready = poll(&ended, 1, static_cast<int>(kLimit.count()));
  ::close(ended.fd);
  ASSERT_EQ(ready, 1) << "the peer does not end";
  int status = 0;
  waitpid(std::exchange(process_, -1), &status, 0);
  EXPECT_EQ(status, 0) << "the peer found faults";
}

Result<std::string> RemotePeer::understand(const std::string& command, const std::string& line) {
  if (line.starts_with("ok ")) return line.substr(3);
  return fail(Errc::system, command + ": " + line);
}

std::vector<std::uint64_t> RemotePeer::numbers_of(const Words& words) {
  std::vector<std::uint64_t> numbers;
  for (const std::string& each : words) {
    const auto number = number_of<std::uint64_t>(each);
    if (!number) return {};
    numbers.push_back(*number);
  }
  return numbers;
}

Series RemotePeer::series_of(const std::vector<std::uint64_t>& numbers) {
  if (numbers.size() != 5) return {};
  return {numbers[0], numbers[1], numbers[2], numbers[3], numbers[4]};
}

}  // namespace godwit::fabric::testing
