#include "godwit/fabric/frame_pool.h"

#include <new>

namespace godwit::fabric {

namespace {
constexpr std::size_t kChunk = 64 << 10;
constexpr std::align_val_t kLine{64};
}  // namespace

FramePool::~FramePool() {
  take_foreign();
  if (outstanding_ != 0) return;  // somebody still reads a frame: leaking is the safe end
  for (void* chunk : chunks_) ::operator delete(chunk, kLine);
}

Frame* FramePool::refill(std::uint32_t size_class) noexcept {
  take_foreign();
  if (free_[size_class] != nullptr) return free_[size_class];
  const std::size_t stride = (sizeof(Frame) + kPayloadOfClass[size_class] + 63) / 64 * 64;
  auto* chunk = static_cast<std::byte*>(::operator new(kChunk, kLine, std::nothrow));
  if (chunk == nullptr) return nullptr;
  chunks_.push_back(chunk);
  bytes_ += kChunk;
  for (std::size_t at = (kChunk / stride) * stride; at != 0; at -= stride) {
    auto* frame = new (chunk + at - stride) Frame;
    frame->pool = this;
    frame->size_class = size_class;
    frame->next = free_[size_class];
    free_[size_class] = frame;
  }
  return free_[size_class];
}

void FramePool::take_foreign() noexcept {
  Frame* frame = foreign_.exchange(nullptr, std::memory_order_acquire);
  while (frame != nullptr) {
    Frame* next = frame->next;
    frame->next = free_[frame->size_class];
    free_[frame->size_class] = frame;
    --outstanding_;
    frame = next;
  }
}

}  // namespace godwit::fabric
