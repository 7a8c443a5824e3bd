// Link: a queue pair, its connection manager's id, and the work requests it has not finished.
//
// What a connection stands on; it may outlive its connection for a moment, so that what was sent
// still arrives. Destroying it stops the device at once: afterwards nothing is read from or written
// to memory that its requests named. Owned by the transport; engine's thread only.
#pragma once

#include <infiniband/verbs.h>
#include <rdma/rdma_cma.h>

#include <chrono>
#include <cstdint>
#include <deque>
#include <span>
#include <string_view>
#include <utility>

#include "godwit/error.h"
#include "godwit/fabric/frame_pool.h"
#include "godwit/fabric/one_sided.h"
#include "godwit/fabric/verbs_options.h"
#include "verbs/device.h"
#include "verbs/handles.h"
#include "verbs/link_table.h"
#include "verbs/registry.h"
#include "verbs/send_ledger.h"

namespace godwit::fabric::verbs {

class VerbsConnection;

/// A frame that a connection keeps: retained by the layer above and pinned, or owned.
class KeptFrame {
 public:
  static KeptFrame retained(Frame& frame) noexcept {
    FramePool::pin(frame);
    return {&frame, false};
  }
  static KeptFrame owned(FramePtr frame) noexcept { return {frame.release(), true}; }
  KeptFrame(KeptFrame&& other) noexcept
      : frame_(std::exchange(other.frame_, nullptr)), owned_(other.owned_) {}
  KeptFrame& operator=(KeptFrame&& other) noexcept {
    std::swap(frame_, other.frame_);
    std::swap(owned_, other.owned_);
    return *this;
  }
  KeptFrame(const KeptFrame&) = delete;
  KeptFrame& operator=(const KeptFrame&) = delete;
  ~KeptFrame() {
    if (frame_ == nullptr) return;
    if (owned_) {
      FramePtr(frame_).reset();
    } else {
      FramePool::unpin(*frame_);
    }
  }

  Frame& operator*() const noexcept { return *frame_; }
  Frame* operator->() const noexcept { return frame_; }

 private:
  KeptFrame(Frame* frame, bool owned) noexcept : frame_(frame), owned_(owned) {}

  Frame* frame_;
  bool owned_;
};

class Link {
 public:
  /// Takes the id. The queue pair is made by make_pair().
  Link(Device& device, const VerbsOptions& options, Handle<rdma_cm_id> cm)
      : device_(device), options_(options), id_(std::move(cm)), ledger_(options.send_depth) {}
  ~Link();
  Link(const Link&) = delete;
  Link& operator=(const Link&) = delete;

  // Making the connection.
  Result<void> make_pair();
  /// Ready to receive and to send, with what the connection manager knows of the peer.
  Result<void> activate();
  Result<void> connect(std::string_view introduction);
  Result<void> accept(std::string_view introduction);
  Result<void> establish();

  // Sending. Any of these may be called only with room().
  bool room() const noexcept { return !ledger_.full() && device_.send_room(); }
  /// Sends a message that lies in `pieces`: inline if it is short enough; otherwise it must be one
  /// piece in send slot `slot`, which is free again afterwards. False: the queue pair is broken.
  bool send(std::span<ibv_sge> pieces, bool is_inline, std::uint32_t slot, bool wake,
            bool signalled = false);
  /// Reads from the peer's memory, or writes to it. `what.index`: the piece of the device's pool
  /// that `local` lies in, or kNone; it stays the caller's if this fails.
  bool access(ibv_wr_opcode how, const RemoteMemory& remote, const ibv_sge& local, Posted what);
  std::uint32_t inline_bytes() const noexcept { return inline_bytes_; }
  std::uint32_t unfinished() const noexcept { return ledger_.unfinished(); }

  /// A request has ended well, and with it all before it. Calls `on_access(kind)` for each fetch
  /// and copy among them. False for a request that is not out.
  template <typename OnAccess>
  bool completed(std::uint32_t sequence, OnAccess on_access) {
    return ledger_.complete(sequence, [&](const Posted& what) {
      --device_.unfinished;
      if (what.kind == Posted::Kind::slot) device_.free_slot(what.index);
      if (what.kind == Posted::Kind::fetch || what.kind == Posted::Kind::copy)
        on_access(what.kind);  // may post more
    });
  }

  rdma_cm_id* cm() const noexcept { return id_.get(); }
  ibv_qp* pair() const noexcept { return pair_.get(); }
  /// Moves the queue pair into its error state: everything is flushed, the peer's sends fail.
  void break_pair() noexcept;

  LinkId id = 0;                                     // in the transport's table
  LinkId peer_id = 0;                                // in the peer's: the immediate of what is sent
  VerbsConnection* owner = nullptr;                  // null once it is closed
  bool disconnecting = false;                        // the peer was asked to
  std::chrono::steady_clock::time_point deadline{};  // of parting
  std::uint32_t window = 0;                          // receive buffers promised to the peer

  /// Frames whose payload the peer is fetching: their memory must stay until it says so, or until
  /// the link is gone.
  struct Announced {
    KeptFrame frame;
    Registration memory;
  };
  std::deque<Announced> announced;

 private:
  bool post(ibv_send_wr& request, Posted what, bool signalled);
  Result<void> modify(ibv_qp_state state);

  Device& device_;
  const VerbsOptions& options_;
  Handle<rdma_cm_id> id_;
  Handle<ibv_qp> pair_;
  SendLedger ledger_;
  std::uint32_t inline_bytes_ = 0;
};

}  // namespace godwit::fabric::verbs
