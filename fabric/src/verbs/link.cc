#ifdef GODWIT_HAVE_VERBS

#include "verbs/link.h"

#include <arpa/inet.h>

#include <algorithm>
#include <cerrno>

namespace godwit::fabric::verbs {

namespace {

constexpr std::uint8_t kReceiverNotReady =
    12;                               // 0.64 ms until a sender that found no buffer retries
constexpr std::uint8_t kForEver = 7;  // how often it does

tl::unexpected<Error> failed(const char* what) {
  return tl::make_unexpected(verbs_error(Errc::connection_lost, what, errno));
}

}  // namespace

Link::~Link() {
  if (pair_ != nullptr) {
    break_pair();
    device_.stash_receives();
    pair_.reset();
  }
  id_.reset();
  if (window != 0) device_.give_back(window);
  device_.unfinished -= ledger_.unfinished();
  if (ledger_.unfinished() == 0) return;
  device_.stale_completions = true;
  ledger_.complete(ledger_.next_sequence() - 1, [this](const Posted& what) {
    if (what.kind == Posted::Kind::slot) device_.free_slot(what.index);
    const bool bounces = what.kind == Posted::Kind::fetch || what.kind == Posted::Kind::copy;
    if (bounces && what.index != Device::kNone) device_.free_bounce(what.index);
  });
}

void Link::break_pair() noexcept {
  ibv_qp_attr attributes{};
  attributes.qp_state = IBV_QPS_ERR;
  // A pair whose device is gone refuses; it is in no other state either.
  (void)ibv_modify_qp(pair_.get(), &attributes, IBV_QP_STATE);
}

// --- making the connection ----------------------------------------------------------------------

Result<void> Link::make_pair() {
  ibv_qp_init_attr wanted{};
  wanted.send_cq = device_.send_queue();
  wanted.recv_cq = device_.receive_queue();
  wanted.srq = device_.shared_queue();
  wanted.qp_type = IBV_QPT_RC;
  wanted.cap.max_send_wr = options_.send_depth;
  wanted.cap.max_send_sge = 2;
  // No device tells how much it takes inline: ask for less until it agrees, once per device.
  std::uint32_t bytes = std::min(device_.inline_bytes, options_.inline_bytes);
  while (true) {
    ibv_qp_init_attr attempt = wanted;
    attempt.cap.max_inline_data = bytes;
    pair_.reset(ibv_create_qp(device_.domain(), &attempt));
    if (pair_ != nullptr) {
      inline_bytes_ = std::min(attempt.cap.max_inline_data, options_.inline_bytes);
      device_.inline_bytes = bytes;
      break;
    }
    if (bytes == 0) return failed("cannot make a queue pair");
    bytes = bytes > 64 ? bytes / 2 : 0;
  }
  return modify(IBV_QPS_INIT);
}

Result<void> Link::modify(ibv_qp_state state) {
  ibv_qp_attr attributes{};
  attributes.qp_state = state;
  int mask = 0;
  if (rdma_init_qp_attr(id_.get(), &attributes, &mask) != 0)
    return failed("the connection manager does not know the queue pair's state");
  if (state == IBV_QPS_INIT) {
    // What the pair allows is only an upper bound: a peer reaches memory that is registered for
    // that very access, and nothing is registered for writing but what a grant has exposed. Set
    // here, as the manager's own idea of it changes with the version and the moment.
    attributes.qp_access_flags = IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_WRITE;
    mask |= IBV_QP_ACCESS_FLAGS;
  }
  if (state == IBV_QPS_RTR) attributes.min_rnr_timer = kReceiverNotReady;
  if (state == IBV_QPS_RTS) {
    attributes.timeout = options_.ack_timeout;
    attributes.retry_cnt = options_.retries;
    attributes.rnr_retry = kForEver;
  }
  if (const int error = ibv_modify_qp(pair_.get(), &attributes, mask); error != 0) {
    errno = error;
    return failed("cannot change a queue pair's state");
  }
  return {};
}

Result<void> Link::activate() {
  // Once more: only now the manager knows the port and the partition for certain.
  if (auto done = modify(IBV_QPS_INIT); !done) return done;
  if (auto done = modify(IBV_QPS_RTR); !done) return done;
  return modify(IBV_QPS_RTS);
}

namespace {
rdma_conn_param parameters(std::string_view introduction, std::uint32_t pair, std::uint32_t reads,
                           std::uint8_t retries) {
  rdma_conn_param result{};
  result.private_data = introduction.data();
  result.private_data_len = static_cast<std::uint8_t>(introduction.size());
  result.responder_resources = static_cast<std::uint8_t>(reads);
  result.initiator_depth = static_cast<std::uint8_t>(reads);
  result.retry_count = retries;
  result.rnr_retry_count = kForEver;
  result.srq = 1;
  result.qp_num = pair;
  return result;
}
}  // namespace

Result<void> Link::connect(std::string_view introduction) {
  auto wanted = parameters(introduction, pair_->qp_num, device_.max_reads(), options_.retries);
  if (rdma_connect(id_.get(), &wanted) != 0) return failed("cannot connect");
  return {};
}

Result<void> Link::accept(std::string_view introduction) {
  auto wanted = parameters(introduction, pair_->qp_num, device_.max_reads(), options_.retries);
  if (rdma_accept(id_.get(), &wanted) != 0) return failed("cannot accept a connection");
  return {};
}

Result<void> Link::establish() {
  if (rdma_establish(id_.get()) != 0) return failed("cannot complete a connection");
  return {};
}

// --- sending ------------------------------------------------------------------------------------

bool Link::post(ibv_send_wr& request, Posted what, bool signalled) {
  signalled = signalled || ledger_.must_signal(device_.pressure());
  request.wr_id = work_id(id, ledger_.next_sequence());
  if (signalled) request.send_flags |= IBV_SEND_SIGNALED;
  ibv_send_wr* bad = nullptr;
  if (ibv_post_send(pair_.get(), &request, &bad) != 0) [[unlikely]] {
    if (what.kind == Posted::Kind::slot) device_.free_slot(what.index);
    return false;
  }
  ledger_.add(what, signalled);
  ++device_.unfinished;
  return true;
}

bool Link::send(std::span<ibv_sge> pieces, bool is_inline, std::uint32_t slot, bool wake,
                bool signalled) {
  ibv_send_wr request{};
  request.sg_list = pieces.data();
  request.num_sge = static_cast<int>(pieces.size());
  request.opcode = IBV_WR_SEND_WITH_IMM;
  request.imm_data = htonl(peer_id);
  if (is_inline) request.send_flags |= IBV_SEND_INLINE;
  if (wake) request.send_flags |= IBV_SEND_SOLICITED;
  return post(request, is_inline ? Posted{} : Posted{Posted::Kind::slot, slot}, signalled);
}

bool Link::access(ibv_wr_opcode how, const RemoteMemory& remote, const ibv_sge& local,
                  Posted what) {
  ibv_sge piece = local;
  ibv_send_wr request{};
  request.sg_list = &piece;
  request.num_sge = 1;
  request.opcode = how;
  request.wr.rdma.remote_addr = remote.address;
  request.wr.rdma.rkey = remote.key;
  return post(request, what, true);
}

}  // namespace godwit::fabric::verbs

#endif
