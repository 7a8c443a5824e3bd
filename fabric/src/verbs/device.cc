#ifdef GODWIT_HAVE_VERBS

#include "verbs/device.h"

#include <fcntl.h>
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

namespace godwit::fabric::verbs {

namespace {

std::string with_limit(const std::string& what) {
  return what + " (locked memory: this process may lock about " +
         std::to_string(lockable_bytes() >> 10) + " KiB; raise it with ulimit -l)";
}

Result<void> unblock(int fd) {
  const int flags = fcntl(fd, F_GETFL);
  if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0)
    return fail_errno("cannot make a descriptor non-blocking");
  return {};
}

}  // namespace

// --- memory -------------------------------------------------------------------------------------

Result<RegisteredBlock> RegisteredBlock::create(ibv_pd* domain, std::size_t size) {
  RegisteredBlock block;
  void* memory = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return fail_errno("cannot get memory for RDMA");
  block.data_ = static_cast<std::byte*>(memory);
  block.size_ = size;
  // A child that writes to its copy would leave the device with the parent's old pages.
  madvise(memory, size, MADV_DONTFORK);
  const int access = IBV_ACCESS_LOCAL_WRITE;
  block.region_.reset(ibv_reg_mr(domain, memory, size, access));
  if (block.region_ == nullptr)
    return tl::make_unexpected(
        verbs_error(Errc::no_memory,
                    with_limit("cannot register " + std::to_string(size >> 10) + " KiB"), errno));
  return block;
}

RegisteredBlock& RegisteredBlock::operator=(RegisteredBlock&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  region_.swap(other.region_);
  return *this;
}

RegisteredBlock::~RegisteredBlock() {
  region_.reset();
  if (data_ != nullptr) munmap(data_, size_);
}

// --- making it ----------------------------------------------------------------------------------

Result<std::unique_ptr<Device>> Device::open(ibv_device* device, const VerbsOptions& options,
                                             Arena& arena) {
  std::uint64_t locked = options.locked_bytes != 0 ? options.locked_bytes : lockable_bytes();
  // The limit is the process's: others may have taken of it. Less is tried before giving up.
  while (true) {
    Handle<ibv_context> context(ibv_open_device(device));
    if (context == nullptr)
      return tl::make_unexpected(verbs_error(
          Errc::system, std::string("cannot open the RDMA device ") + ibv_get_device_name(device),
          errno));
    ibv_device_attr attributes{};
    if (const int error = ibv_query_device(context.get(), &attributes); error != 0)
      return tl::make_unexpected(verbs_error(Errc::system, "cannot query the RDMA device", error));
    const DeviceLimits limits{static_cast<std::uint32_t>(attributes.max_srq_wr),
                              static_cast<std::uint32_t>(attributes.max_cqe)};
    auto plan = plan_memory(locked, limits, options);
    if (!plan) return tl::make_unexpected(plan.error());
    std::unique_ptr<Device> made(new Device(options, *plan));
    made->context_ = std::move(context);
    const auto reads = std::min({attributes.max_qp_rd_atom, attributes.max_qp_init_rd_atom, 16});
    made->max_reads_ = static_cast<std::uint32_t>(std::max(reads, 1));
    auto done = made->make(arena);
    if (done) return made;
    if (done.error().code != Errc::no_memory || locked / 2 < kLeastLocked)
      return tl::make_unexpected(std::move(done.error()));
    locked /= 2;
  }
}

Result<void> Device::make(Arena& arena) {
  const auto failed = [](const char* what) {
    return tl::make_unexpected(verbs_error(Errc::system, what, errno));
  };
  if (auto done = unblock(context_->async_fd); !done) return done;
  domain_.reset(ibv_alloc_pd(context_.get()));
  if (domain_ == nullptr) return failed("cannot make a protection domain");
  channel_.reset(ibv_create_comp_channel(context_.get()));
  if (channel_ == nullptr) return failed("cannot make a completion channel");
  if (auto done = unblock(channel_->fd); !done) return done;
  send_queue_.reset(ibv_create_cq(context_.get(), static_cast<int>(plan_.send_completions), nullptr,
                                  channel_.get(), 0));
  receive_queue_.reset(ibv_create_cq(context_.get(), static_cast<int>(plan_.receive_buffers),
                                     nullptr, channel_.get(), 0));
  if (send_queue_ == nullptr || receive_queue_ == nullptr)
    return failed("cannot make completion queues");
  ibv_srq_init_attr shared{};
  shared.attr.max_wr = plan_.receive_buffers;
  shared.attr.max_sge = 1;
  shared_queue_.reset(ibv_create_srq(domain_.get(), &shared));
  if (shared_queue_ == nullptr) return failed("cannot make a shared receive queue");

  auto slots = RegisteredBlock::create(domain_.get(), plan_.send_slots * kSlotBytes);
  if (!slots) return tl::make_unexpected(slots.error());
  slots_ = std::move(*slots);
  auto bounces = RegisteredBlock::create(domain_.get(), plan_.bounce_pieces * kBounceBytes);
  if (!bounces) return tl::make_unexpected(bounces.error());
  bounces_ = std::move(*bounces);
  for (std::uint32_t i = plan_.send_slots; i-- != 0;) free_slots_.push_back(i);
  for (std::uint32_t i = plan_.bounce_pieces; i-- != 0;) free_bounces_.push_back(i);
  registry_ = std::make_unique<Registry>(domain_.get(),
                                         std::span<std::byte>(arena.base(), arena.capacity()),
                                         plan_.chunk_bits, plan_.registered);
  return {};
}

Device::~Device() {
  acknowledge();  // a queue with events that nobody acknowledged is not destroyed
}

// --- receive buffers ----------------------------------------------------------------------------

Result<std::uint32_t> Device::take_window() {
  const std::uint32_t window = budget_.take();
  if (window == 0)
    return fail(Errc::no_memory, with_limit("no receive buffers are left for another peer"));
  while (made_buffers_ < budget_.promised() + kSpareBuffers &&
         made_buffers_ < plan_.receive_buffers) {
    if (auto done = add_buffers(); !done) {
      // Its promise cannot be kept; those made before hold.
      budget_.give_back(window);
      return tl::make_unexpected(std::move(done.error()));
    }
  }
  return window;
}

Result<void> Device::add_buffers() {
  auto block = RegisteredBlock::create(domain_.get(), kBlockBuffers * kSlotBytes);
  if (!block) return tl::make_unexpected(block.error());
  const auto first = static_cast<std::uint32_t>(blocks_.size()) * kBlockBuffers;
  blocks_.push_back(std::move(*block));
  const std::uint32_t count = std::min(kBlockBuffers, plan_.receive_buffers - made_buffers_);
  made_buffers_ += count;
  for (std::uint32_t i = 0; i < count; ++i) recycle(first + i);
  post_recycled();
  if (broken_) return fail(Errc::system, "the RDMA device takes no receive buffers");
  return {};
}

void Device::post_recycled() noexcept {
  if (recycled_count_ == 0) return;
  std::array<ibv_recv_wr, std::tuple_size_v<decltype(recycled_)>> requests;
  std::array<ibv_sge, std::tuple_size_v<decltype(recycled_)>> pieces;
  for (std::size_t i = 0; i < recycled_count_; ++i) {
    const std::uint32_t index = recycled_[i];
    pieces[i] = {reinterpret_cast<std::uint64_t>(buffer(index)), kSlotBytes,
                 blocks_[index / kBlockBuffers].key()};
    requests[i] = {index, i + 1 < recycled_count_ ? &requests[i + 1] : nullptr, &pieces[i], 1};
  }
  ibv_recv_wr* bad = nullptr;
  if (ibv_post_srq_recv(shared_queue_.get(), requests.data(), &bad) != 0) broken_ = true;
  recycled_count_ = 0;
}

std::uint32_t Device::take_bounce() noexcept {
  if (free_bounces_.empty()) return kNone;
  const std::uint32_t piece = free_bounces_.back();
  free_bounces_.pop_back();
  return piece;
}

// --- completions --------------------------------------------------------------------------------

int Device::poll_receives(std::span<ibv_wc> into) noexcept {
  if (!stashed_.empty()) [[unlikely]] {
    const std::size_t count = std::min(into.size(), stashed_.size());
    std::copy_n(stashed_.begin(), count, into.begin());
    stashed_.erase(stashed_.begin(), stashed_.begin() + static_cast<std::ptrdiff_t>(count));
    return static_cast<int>(count);
  }
  return ibv_poll_cq(receive_queue_.get(), static_cast<int>(into.size()), into.data());
}

int Device::poll_sends(std::span<ibv_wc> into) noexcept {
  return ibv_poll_cq(send_queue_.get(), static_cast<int>(into.size()), into.data());
}

void Device::stash_receives() {
  std::array<ibv_wc, 32> batch;
  int count = 0;
  while ((count = ibv_poll_cq(receive_queue_.get(), batch.size(), batch.data())) > 0)
    stashed_.insert(stashed_.end(), batch.begin(), batch.begin() + count);
}

bool Device::request_events() noexcept {
  if (!send_armed_) {
    if (ibv_req_notify_cq(send_queue_.get(), 0) != 0) return false;
    send_armed_ = true;
  }
  if (!receive_armed_) {
    if (ibv_req_notify_cq(receive_queue_.get(), 1) != 0) return false;
    receive_armed_ = true;
  }
  return true;
}

void Device::take_events() noexcept {
  ibv_cq* queue = nullptr;
  void* context = nullptr;
  while (ibv_get_cq_event(channel_.get(), &queue, &context) == 0) {
    if (queue == send_queue_.get()) {
      send_armed_ = false;
      ++send_events_;
    } else {
      receive_armed_ = false;
      ++receive_events_;
    }
  }
  if (send_events_ + receive_events_ >= kAckBatch) acknowledge();
}

void Device::acknowledge() noexcept {
  if (send_events_ != 0) ibv_ack_cq_events(send_queue_.get(), send_events_);
  if (receive_events_ != 0) ibv_ack_cq_events(receive_queue_.get(), receive_events_);
  send_events_ = receive_events_ = 0;
}

}  // namespace godwit::fabric::verbs

#endif
