#include "network_namespace.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <string>
#include <string_view>

namespace godwit::local_cluster {

namespace {

bool send_descriptor(int socket, int fd, int error) {
  iovec bytes{&error, sizeof error};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
  msghdr message{};
  message.msg_iov = &bytes;
  message.msg_iovlen = 1;
  if (fd >= 0) {
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(header), &fd, sizeof fd);
  }
  return ::sendmsg(socket, &message, MSG_NOSIGNAL) > 0;
}

// With errno set if there is none.
Descriptor take_descriptor(int socket) {
  int error = ECHILD;  // the child died before it said anything
  iovec bytes{&error, sizeof error};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
  msghdr message{};
  message.msg_iov = &bytes;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  while (::recvmsg(socket, &message, MSG_CMSG_CLOEXEC) < 0 && errno == EINTR) {
  }
  const cmsghdr* header = CMSG_FIRSTHDR(&message);
  if (error == 0 && header != nullptr && header->cmsg_type == SCM_RIGHTS) {
    int fd = -1;
    std::memcpy(&fd, CMSG_DATA(header), sizeof fd);
    return Descriptor(fd);
  }
  errno = error;
  return {};
}

// Namespaces belong to threads, and a process of several threads may not enter a user namespace: so
// a forked child enters or makes them and hands over a descriptor. `work` returns it, or -1 with
// errno; other threads may have held any lock at the fork, so it makes system calls only.
template <typename Work>
Descriptor descriptor_from_child(Work work) {
  std::array<int, 2> sockets{};
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets.data()) != 0) return {};
  Descriptor mine(sockets[0]);
  Descriptor other(sockets[1]);
  const pid_t pid = ::fork();
  if (pid == 0) {
    const int fd = work();
    ::_exit(send_descriptor(sockets[1], fd, fd < 0 ? errno : 0) ? 0 : 1);
  }
  if (pid < 0) return {};
  other = Descriptor();
  Descriptor taken = take_descriptor(mine.get());
  const int error = errno;
  while (::waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
  }
  errno = error;
  return taken;
}

bool write_file(const char* path, std::string_view text) {
  const int fd = ::open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return false;
  const bool written = ::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size());
  const int error = errno;
  ::close(fd);
  errno = error;
  return written;
}

}  // namespace

Result<Descriptor> make_user_namespace() {
  const std::string users = "0 " + std::to_string(::geteuid()) + " 1";
  const std::string groups = "0 " + std::to_string(::getegid()) + " 1";
  Descriptor made = descriptor_from_child([&] {
    if (::unshare(CLONE_NEWUSER) != 0 || !write_file("/proc/self/setgroups", "deny") ||
        !write_file("/proc/self/uid_map", users) || !write_file("/proc/self/gid_map", groups)) {
      return -1;
    }
    return ::open("/proc/self/ns/user", O_RDONLY | O_CLOEXEC);
  });
  if (made) return made;
  return fail(Errc::not_supported, std::string("cannot make a user namespace (") +
                                       std::strerror(errno) +
                                       "): run as root, or allow unprivileged user namespaces");
}

Result<Descriptor> make_network_namespace(int user_namespace, bool forwards) {
  Descriptor made = descriptor_from_child([&] {
    if ((user_namespace >= 0 && ::setns(user_namespace, CLONE_NEWUSER) != 0) ||
        ::unshare(CLONE_NEWNET) != 0 ||
        (forwards && !write_file("/proc/sys/net/ipv4/ip_forward", "1"))) {
      return -1;
    }
    return ::open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
  });
  if (made) return made;
  return fail(Errc::not_supported, std::string("cannot make a network namespace (") +
                                       std::strerror(errno) +
                                       "): run as root, in a container with CAP_SYS_ADMIN and a "
                                       "writable /proc/sys");
}

Result<Descriptor> open_socket_in(const NamespaceList& namespaces, int type) {
  Descriptor made = descriptor_from_child([&] {
    for (const int each : namespaces) {
      if (::setns(each, 0) != 0) return -1;
    }
    return ::socket(AF_INET, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  });
  if (made) return made;
  return fail_errno("cannot open a socket in the namespace");
}

}  // namespace godwit::local_cluster
