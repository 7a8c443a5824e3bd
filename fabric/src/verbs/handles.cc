#ifdef GODWIT_HAVE_VERBS

#include "verbs/handles.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <map>
#include <mutex>
#include <system_error>

namespace godwit::fabric::verbs {

namespace {

std::atomic<std::uint64_t> failures{0};

void check(int result) noexcept {
  if (result != 0) failures.fetch_add(1, std::memory_order_relaxed);
}

struct CmContext {
  unsigned users = 0;
  bool removed = false;
};
std::mutex cm_mutex;
std::map<ibv_context*, CmContext>& cm_contexts() {
  static std::map<ibv_context*, CmContext> contexts;
  return contexts;
}

// The library still owns the structure and will close its descriptors one day; what they refer to
// from now on is of no matter to anybody.
void empty_descriptor(int fd) noexcept {
  const int nothing = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  if (nothing < 0) return check(-1);
  check(::dup3(nothing, fd, O_CLOEXEC) < 0 ? -1 : 0);
  ::close(nothing);
}

}  // namespace

std::uint64_t failed_releases() noexcept {
  return failures.load(std::memory_order_relaxed);
}

void Releaser::operator()(rdma_event_channel* channel) const noexcept {
  rdma_destroy_event_channel(channel);
}
void Releaser::operator()(rdma_cm_id* id) const noexcept {
  // The kernel drops an id of a removed device by itself; asking again then finds nothing.
  if (rdma_destroy_id(id) != 0 && errno != ENODEV && errno != ENOENT) check(-1);
}
void Releaser::operator()(ibv_context* context) const noexcept {
  check(ibv_close_device(context));
}
void Releaser::operator()(ibv_pd* domain) const noexcept {
  check(ibv_dealloc_pd(domain));
}
void Releaser::operator()(ibv_comp_channel* channel) const noexcept {
  check(ibv_destroy_comp_channel(channel));
}
void Releaser::operator()(ibv_cq* queue) const noexcept {
  check(ibv_destroy_cq(queue));
}
void Releaser::operator()(ibv_srq* queue) const noexcept {
  check(ibv_destroy_srq(queue));
}
void Releaser::operator()(ibv_mr* region) const noexcept {
  check(ibv_dereg_mr(region));
}
void Releaser::operator()(ibv_qp* pair) const noexcept {
  check(ibv_destroy_qp(pair));
}

Error verbs_error(Errc code, std::string_view what, int error) {
  if (error == ENOMEM) code = Errc::no_memory;
  // std::generic_category is used for its thread-safe text; strerror is not.
  return {code, std::string(what) + ": " + std::generic_category().message(error), {}};
}

Result<CmAddress> CmAddress::parse(const SocketAddress& address) {
  CmAddress result;
  auto& v4 = *reinterpret_cast<sockaddr_in*>(result.storage_);
  auto& v6 = *reinterpret_cast<sockaddr_in6*>(result.storage_);
  if (inet_pton(AF_INET, address.host.c_str(), &v4.sin_addr) == 1) {
    v4.sin_family = AF_INET;
    v4.sin_port = htons(address.port);
  } else if (inet_pton(AF_INET6, address.host.c_str(), &v6.sin6_addr) == 1) {
    v6.sin6_family = AF_INET6;
    v6.sin6_port = htons(address.port);
  } else {
    return fail(Errc::invalid_argument, "'" + address.host + "' is no numeric address");
  }
  return result;
}

CmContextUse::CmContextUse(ibv_context* context) : context_(context) {
  const std::lock_guard lock(cm_mutex);
  ++cm_contexts()[context].users;
}

CmContextUse::~CmContextUse() {
  const std::lock_guard lock(cm_mutex);
  const auto entry = cm_contexts().find(context_);
  if (--entry->second.users != 0) return;
  if (entry->second.removed) {
    empty_descriptor(context_->cmd_fd);
    empty_descriptor(context_->async_fd);
  }
  cm_contexts().erase(entry);
}

void CmContextUse::removed() noexcept {
  const std::lock_guard lock(cm_mutex);
  cm_contexts()[context_].removed = true;
}

}  // namespace godwit::fabric::verbs

#endif
