// Operations that UCX has not finished: what UCX refers to until it says so.
//
// A pool per direction, owned by the transport, engine's thread only. Pools grow in chunks and
// never shrink: their size is the largest number of unfinished operations there ever was. An
// operation outlives its connection: it goes home when UCX is done with it, whatever happened
// meanwhile.
#pragma once

#include <cstdint>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "godwit/fabric/buffer.h"
#include "godwit/fabric/frame_pool.h"
#include "ucx/wire.h"

namespace godwit::fabric::ucx {

class UcxConnection;

template <typename Op>
class OpPool {
 public:
  OpPool() = default;
  OpPool(const OpPool&) = delete;
  OpPool& operator=(const OpPool&) = delete;

  /// A spare operation, which stays in the pool until take(). Null when out of memory.
  Op* peek() noexcept {
    if (spare_ == nullptr) [[unlikely]]
      grow();
    return spare_;
  }
  /// Takes what peek() showed.
  void take(Op& op) noexcept {
    spare_ = op.next;
    op.busy = true;
    ++busy_;
  }
  /// Ends an operation: lets go of all it held.
  void finish(Op& op) noexcept {
    op.clear();
    op.busy = false;
    op.next = spare_;
    spare_ = &op;
    --busy_;
  }

  std::size_t busy() const noexcept { return busy_; }

  template <typename Function>
  void for_each_busy(Function function) {
    for (const auto& chunk : chunks_) {
      for (std::size_t i = 0; i < kChunk; ++i) {
        if (chunk[i].busy) function(chunk[i]);
      }
    }
  }

 private:
  static constexpr std::size_t kChunk = 32;

  void grow() noexcept {
    std::unique_ptr<Op[]> chunk(new (std::nothrow) Op[kChunk]);
    if (chunk == nullptr) return;
    for (std::size_t i = kChunk; i-- != 0;) {
      chunk[i].pool = this;
      chunk[i].next = spare_;
      spare_ = &chunk[i];
    }
    chunks_.push_back(std::move(chunk));
  }

  Op* spare_ = nullptr;
  std::size_t busy_ = 0;
  std::vector<std::unique_ptr<Op[]>> chunks_;
};

/// A frame or a handshake message on its way out.
struct SendOp {
  WireHeader
      header;  // UCX reads the AM header until the operation is done (copies it from 1.14 on)
  SendOp* next = nullptr;
  OpPool<SendOp>* pool = nullptr;
  UcxConnection* connection = nullptr;  // null once that is closed
  Frame* pinned = nullptr;              // retained by the layer above
  FramePtr owned;                       // taken from it
  std::string message;                  // of the handshake
  std::uint32_t length = 0;
  bool rendezvous = false;
  bool busy = false;

  void clear() noexcept {
    if (pinned != nullptr) FramePool::unpin(*pinned);
    pinned = nullptr;
    owned.reset();
    message.clear();
    connection = nullptr;
  }
};

/// A payload that UCX is fetching into its place.
struct ReceiveOp {
  ReceiveOp* next = nullptr;
  OpPool<ReceiveOp>* pool = nullptr;
  UcxConnection* connection = nullptr;  // null once that is closed
  std::uint32_t sequence = 0;
  FrameHeader header;
  Buffer place;
  bool busy = false;

  void clear() noexcept {
    place = Buffer();
    connection = nullptr;
  }
};

}  // namespace godwit::fabric::ucx
