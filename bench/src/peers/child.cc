#include "peers/child.h"

#include <sched.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <exception>
#include <system_error>

namespace godwit::bench {

void fail_errno(const std::string& what) {
  throw std::system_error(errno, std::generic_category(), what);
}

namespace {

void pin(int cpu) {
  if (cpu < 0) return;
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  if (sched_setaffinity(0, sizeof set, &set) != 0) fail_errno("sched_setaffinity");
}

}  // namespace

Child::Child(const PeerOptions& options, const std::function<void()>& body) : pid_(fork()) {
  if (pid_ < 0) fail_errno("fork");
  if (pid_ == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);  // A parent that failed leaves nobody behind.
    try {
      pin(options.child_cpu);
      body();
    } catch (const std::exception& failure) {
      std::fprintf(stderr, "child: %s\n", failure.what());
      _exit(1);
    }
    _exit(0);
  }
  pin(options.parent_cpu);
}

Child::~Child() {
  while (waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

Descriptor::~Descriptor() {
  if (fd_ >= 0) close(fd_);
}

void write_all(int fd, const std::byte* data, std::size_t size) {
  while (size != 0) {
    const ssize_t done = write(fd, data, size);
    if (done < 0 && errno == EINTR) continue;
    if (done <= 0) fail_errno("write");
    data += done;
    size -= static_cast<std::size_t>(done);
  }
}

void read_all(int fd, std::byte* data, std::size_t size) {
  while (size != 0) {
    const ssize_t done = read(fd, data, size);
    if (done < 0 && errno == EINTR) continue;
    if (done == 0) throw std::runtime_error("the other side has closed");
    if (done < 0) fail_errno("read");
    data += done;
    size -= static_cast<std::size_t>(done);
  }
}

}  // namespace godwit::bench
