#include "liveness_file.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstring>

namespace godwit::coord {
namespace {

constexpr std::uint64_t kMagic = 0x45564c5449574447;  // "GDWITLVE"
constexpr std::uint32_t kVersion = 1;
constexpr std::int64_t kWaitingFresh = 20'000'000;  // ns

Error system_error(const std::string& path) {
  const int error = errno;
  const bool full = error == ENOSPC || error == EDQUOT;
  return Error{full ? Errc::no_space : Errc::io_error, path + ": " + std::strerror(error)};
}

}  // namespace

struct alignas(64) PaddedSlot {
  LivenessFile::Slot slot;
};

struct LivenessFile::Layout {
  std::uint64_t magic;
  std::uint32_t version;
  std::uint32_t slots;
  std::uint64_t id;
  alignas(64) std::atomic<std::uint32_t> changes;
  alignas(64) std::atomic<std::int64_t> waiting_ns;
  PaddedSlot padded[kMaxSessions];
};

static_assert(sizeof(PaddedSlot) == 64, "a cache line a session: nobody's stamp slows another's");
static_assert(std::atomic<std::uint64_t>::is_always_lock_free);
static_assert(std::atomic<std::uint32_t>::is_always_lock_free &&
              sizeof(std::atomic<std::uint32_t>) == 4);  // a futex

std::int64_t monotonic_ns() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return std::int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

ProcessIdentity ProcessIdentity::of_this() {
  struct stat status {};
  const bool known = stat("/proc/self/ns/pid", &status) == 0;
  return {getpid(), known ? status.st_ino : 0};
}

Result<LivenessFile::Layout*> LivenessFile::map(int fd, const std::string& path) {
  void* memory = mmap(nullptr, sizeof(Layout), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (memory == MAP_FAILED) return tl::unexpected<Error>(system_error(path));
  return static_cast<Layout*>(memory);
}

Result<std::shared_ptr<LivenessFile>> LivenessFile::create(const std::string& path,
                                                           std::uint64_t id) {
  // The caller holds the database's lock and has decided that what stands there, if
  // anything, is of no use; whoever still maps that sees it unlinked.
  unlink(path.c_str());
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd < 0) return tl::unexpected<Error>(system_error(path));
  if (const int error = posix_fallocate(fd, 0, sizeof(Layout)); error != 0) {
    errno = error;
    auto failure = system_error(path);
    unlink(path.c_str());
    ::close(fd);
    return tl::unexpected<Error>(std::move(failure));
  }
  auto layout = map(fd, path);
  if (!layout) {
    ::close(fd);
    return tl::unexpected<Error>(std::move(layout.error()));
  }
  // Fresh pages are zero, and zero is "free" and "no change" for all the rest.
  (*layout)->magic = kMagic;
  (*layout)->version = kVersion;
  (*layout)->slots = kMaxSessions;
  (*layout)->id = id;
  return std::shared_ptr<LivenessFile>(new LivenessFile(fd, *layout));
}

Result<std::shared_ptr<LivenessFile>> LivenessFile::open(const std::string& path,
                                                         std::uint64_t id) {
  const int fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW);
  if (fd < 0) {
    if (errno == ENOENT) return fail(Errc::no_node, path + " does not exist");
    return tl::unexpected<Error>(system_error(path));
  }
  struct stat status {};
  if (fstat(fd, &status) != 0 || static_cast<std::size_t>(status.st_size) != sizeof(Layout)) {
    ::close(fd);
    return fail(Errc::corrupt, path + " has the wrong size");
  }
  auto layout = map(fd, path);
  if (!layout) {
    ::close(fd);
    return tl::unexpected<Error>(std::move(layout.error()));
  }
  std::shared_ptr<LivenessFile> file(new LivenessFile(fd, *layout));
  const Layout& found = **layout;
  if (found.magic != kMagic || found.version != kVersion || found.slots != kMaxSessions ||
      found.id != id)
    return fail(Errc::corrupt, path + " is not this directory's liveness file");
  return file;
}

LivenessFile::~LivenessFile() {
  munmap(layout_, sizeof(Layout));
  ::close(fd_);
}

bool LivenessFile::still_linked() const {
  struct stat status {};
  return fstat(fd_, &status) == 0 && status.st_nlink > 0;
}

LivenessFile::Slot& LivenessFile::slot(std::uint32_t index) {
  return layout_->padded[index % kMaxSessions].slot;
}

void LivenessFile::claim(std::uint32_t index, SessionId session, std::chrono::nanoseconds timeout,
                         ProcessIdentity owner) {
  Slot& mine = slot(index);
  mine.heartbeat_ns = monotonic_ns();
  mine.timeout_ns = timeout.count();
  mine.pid_namespace = owner.pid_namespace;
  mine.pid = owner.pid;
  mine.session = session;  // last: whoever sees it sees the rest
}

void LivenessFile::release(std::uint32_t index, SessionId session) {
  slot(index).session.compare_exchange_strong(session, 0);
}

bool LivenessFile::beat(std::uint32_t index, SessionId session) {
  Slot& mine = slot(index);
  if (mine.session != session) return false;
  // Should the slot change hands right here, its new owner gets one stamp too many:
  // its death would be noticed one time-out later.
  mine.heartbeat_ns = monotonic_ns();
  return true;
}

std::uint32_t LivenessFile::changes() const {
  return layout_->changes;
}

void LivenessFile::announce_change() {
  ++layout_->changes;
  syscall(SYS_futex, &layout_->changes, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

void LivenessFile::wait_change(std::uint32_t seen, std::chrono::nanoseconds time) {
  if (time.count() <= 0) return;
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(time);
  const timespec limit{seconds.count(), static_cast<long>((time - seconds).count())};
  // Not FUTEX_PRIVATE: the sleepers are in other processes. Every way it ends is fine,
  // callers look again.
  syscall(SYS_futex, &layout_->changes, FUTEX_WAIT, seen, &limit, nullptr, 0);
}

void LivenessFile::announce_waiting() {
  layout_->waiting_ns = monotonic_ns();
}

bool LivenessFile::anyone_waiting() const {
  const std::int64_t age = monotonic_ns() - layout_->waiting_ns;
  return age >= 0 && age < kWaitingFresh;
}

}  // namespace godwit::coord
