#include "fabric/remote/server.h"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <spawn.h>
#include <sys/socket.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <memory>

extern char** environ;

namespace godwit::fabric::testing {

namespace {

using Addresses = std::unique_ptr<addrinfo, decltype(&freeaddrinfo)>;

Result<Addresses> resolve(const std::string& where, int flags) {
  const std::size_t colon = where.rfind(':');
  if (colon == std::string::npos) {
    return fail(Errc::invalid_argument, "not HOST:PORT: " + where);
  }
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = flags;
  addrinfo* found = nullptr;
  const int error =
      getaddrinfo(where.substr(0, colon).c_str(), where.substr(colon + 1).c_str(), &hints, &found);
  if (error != 0) return fail(Errc::unreachable, where + ": " + gai_strerror(error));
  return Addresses(found, &freeaddrinfo);
}

std::string name_of(int socket) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  char host[NI_MAXHOST], port[NI_MAXSERV];
  if (getsockname(socket, reinterpret_cast<sockaddr*>(&address), &size) != 0 ||
      getnameinfo(reinterpret_cast<sockaddr*>(&address), size, host, sizeof host, port, sizeof port,
                  NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
    return "?";
  }
  return std::string(host) + ":" + port;
}

}  // namespace

Result<void> serve(const std::string& where) {
  const auto addresses = resolve(where, AI_PASSIVE | AI_NUMERICSERV);
  if (!addresses) return tl::make_unexpected(addresses.error());
  const addrinfo& address = **addresses;
  const int listener = socket(address.ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int on = 1;
  if (listener < 0 || setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
      bind(listener, address.ai_addr, address.ai_addrlen) != 0 || listen(listener, 16) != 0) {
    return fail_errno("cannot listen on " + where);
  }
  std::signal(SIGCHLD, SIG_IGN);  // nobody waits for the processes
  std::printf("%s\n", name_of(listener).c_str());
  std::fflush(stdout);
  while (true) {
    const int control = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
    if (control < 0) return fail_errno("cannot accept");
    setsockopt(control, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    const auto started = start_session(control);
    ::close(control);
    if (!started) return tl::make_unexpected(started.error());
  }
}

Result<int> start_session(int control) {
  constexpr int kControl = 3;
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, control, kControl);
  std::string program = "/proc/self/exe", session = "--session", number = std::to_string(kControl);
  char* arguments[] = {program.data(), session.data(), number.data(), nullptr};
  pid_t process = -1;
  // posix_spawn, as UCX does not survive a fork without exec.
  const int error = posix_spawn(&process, "/proc/self/exe", &actions, nullptr, arguments, environ);
  posix_spawn_file_actions_destroy(&actions);
  errno = error;
  if (error != 0) return fail_errno("cannot start the peer");
  return process;
}

Result<int> connect_to(const std::string& where) {
  const auto addresses = resolve(where, AI_NUMERICSERV);
  if (!addresses) return tl::make_unexpected(addresses.error());
  const addrinfo& address = **addresses;
  const int connected = socket(address.ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (connected < 0 || connect(connected, address.ai_addr, address.ai_addrlen) != 0) {
    return fail_errno("cannot connect to " + where);
  }
  const int on = 1;
  setsockopt(connected, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  return connected;
}

}  // namespace godwit::fabric::testing
