// Owners of the handles of libibverbs and librdmacm, and their errors as ours.
//
// Each is destroyed by its owner and at once; order matters and is the owner's business (a queue
// pair before its id, a memory region before its domain). A release that the library refuses leaves
// something behind in the kernel: it is counted, and tests look at the count. Engine's thread.
#pragma once

#include <infiniband/verbs.h>
#include <rdma/rdma_cma.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "godwit/error.h"
#include "godwit/fabric/address.h"

namespace godwit::fabric::verbs {

/// Releases of this process that failed. Any thread.
std::uint64_t failed_releases() noexcept;

struct Releaser {
  void operator()(rdma_event_channel* channel) const noexcept;
  void operator()(rdma_cm_id* id) const noexcept;
  void operator()(ibv_context* context) const noexcept;
  void operator()(ibv_pd* domain) const noexcept;
  void operator()(ibv_comp_channel* channel) const noexcept;
  void operator()(ibv_cq* queue) const noexcept;
  void operator()(ibv_srq* queue) const noexcept;
  void operator()(ibv_mr* region) const noexcept;
  void operator()(ibv_qp* pair) const noexcept;
};

template <typename T>
using Handle = std::unique_ptr<T, Releaser>;

/// "code: what: errno's words"
Error verbs_error(Errc code, std::string_view what, int error);

/// A sockaddr of either family, as librdmacm takes it.
class CmAddress {
 public:
  static Result<CmAddress> parse(const SocketAddress& address);
  sockaddr* get() noexcept { return reinterpret_cast<sockaddr*>(storage_); }

 private:
  alignas(8) unsigned char storage_[128]{};
};

/// librdmacm opens each device for itself and keeps it open; a driver that cannot take a device
/// away from its users (soft-RoCE) then waits for ever in the removal. So each user of librdmacm's
/// context holds one of these, and when the last holder of a removed device lets go, the context's
/// descriptors are closed underneath. Objects: any thread.
class CmContextUse {
 public:
  explicit CmContextUse(ibv_context* context);
  ~CmContextUse();
  CmContextUse(const CmContextUse&) = delete;
  CmContextUse& operator=(const CmContextUse&) = delete;

  /// The device is gone: what librdmacm holds of it goes with its last user.
  void removed() noexcept;

 private:
  ibv_context* context_;
};

}  // namespace godwit::fabric::verbs
