#include "shm/memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <utility>

namespace godwit::fabric::shm {

Descriptor::~Descriptor() {
  if (fd_ >= 0) ::close(fd_);
}

Mapping::~Mapping() {
  if (base_ != nullptr) munmap(base_, size_);
}

Result<Mapping> Mapping::of_peer(int fd, std::size_t size) {
  struct stat status {};
  if (fstat(fd, &status) != 0) return fail_errno("cannot inspect the peer's shared memory");
  const int seals = fcntl(fd, F_GET_SEALS);
  if (seals < 0 || (seals & F_SEAL_SHRINK) == 0 || status.st_size < static_cast<off_t>(size)) {
    return fail(Errc::protocol_error, "the peer's shared memory is not sealed or too small");
  }
  void* base = mmap(nullptr, size, PROT_READ, MAP_SHARED | MAP_NORESERVE, fd, 0);
  if (base == MAP_FAILED) return fail_errno("cannot map the peer's shared memory");
  return Mapping(base, size);
}

Result<Mapping> Mapping::create(const char* name, std::size_t size, Descriptor& fd) {
  fd = Descriptor(memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd) return fail_errno("cannot create shared memory");
  if (ftruncate(fd.get(), static_cast<off_t>(size)) != 0)
    return fail_errno("cannot size shared memory");
  void* base = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
  if (base == MAP_FAILED) return fail_errno("cannot map shared memory");
  Mapping mapping(base, size);
  const int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL;
  if (fcntl(fd.get(), F_ADD_SEALS, seals) != 0) return fail_errno("cannot seal shared memory");
  return mapping;
}

PeerArena::PeerArena(Mapping mapping, SharedSocket socket, int wake_fd)
    : mapping_(std::move(mapping)),
      socket_(std::move(socket)),
      wake_(fcntl(wake_fd, F_DUPFD_CLOEXEC, 3)),
      engine_thread_(std::this_thread::get_id()) {}

PeerArena::~PeerArena() {
  tell(socket_->get(), kDoneMessage);
}

Buffer PeerArena::borrow(std::uint64_t offset, std::size_t length) {
  hold();
  return Buffer(mapping_.base() + offset, length, &PeerArena::give_back, this, offset);
}

std::vector<std::uint64_t> PeerArena::take_returned() {
  const std::lock_guard lock(mutex_);
  has_returned_.store(false, std::memory_order_relaxed);
  return std::exchange(returned_, {});
}

void PeerArena::give_back(void* context, std::uint64_t offset) noexcept {
  auto* arena = static_cast<PeerArena*>(context);
  {
    const std::lock_guard lock(arena->mutex_);
    arena->returned_.push_back(offset);
    arena->has_returned_.store(true, std::memory_order_relaxed);
  }
  if (std::this_thread::get_id() != arena->engine_thread_ && arena->wake_) {
    // The engine may sleep while the peer waits for this very block.
    const std::uint64_t one = 1;
    [[maybe_unused]] const ssize_t written = ::write(arena->wake_.get(), &one, sizeof one);
  }
  arena->drop();
}

void PeerArena::drop() noexcept {
  if (holders_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
}

void tell(int socket, SocketMessage message) noexcept {
  [[maybe_unused]] const ssize_t sent = ::send(socket, &message, 1, MSG_DONTWAIT | MSG_NOSIGNAL);
}

}  // namespace godwit::fabric::shm
