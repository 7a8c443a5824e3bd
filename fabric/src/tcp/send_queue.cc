#include "tcp/send_queue.h"

#include <algorithm>
#include <cassert>
#include <cstring>

namespace godwit::fabric::tcp {

namespace {
constexpr std::size_t kFirstCapacity = 16;

std::size_t wire_size(const Frame& frame) noexcept {
  return sizeof(FrameHeader) + frame.header.length;
}

std::span<const std::byte> header_bytes(const Frame& frame) noexcept {
  return std::as_bytes(std::span(&frame.header, 1));
}
}  // namespace

void SendQueue::push(Entry entry) {
  assert(!full());
  if (count_ == capacity_) grow();
  at(count_) = entry;
  ++count_;
  bytes_ += wire_size(*entry.frame);
}

void SendQueue::grow() {
  const std::size_t capacity = std::max(kFirstCapacity, capacity_ * 2);
  auto ring = std::make_unique<Entry[]>(capacity);
  for (std::size_t i = 0; i < count_; ++i) ring[i] = at(i);
  ring_ = std::move(ring);
  capacity_ = capacity;
  head_ = 0;
}

SendQueue::Gathered SendQueue::gather(std::span<std::byte> staging,
                                      std::span<iovec> vectors) const noexcept {
  Gathered gathered;
  std::size_t staged = 0;
  bool in_staging = false;  // the last vector ends where staging is filled to

  const auto stage = [&](std::span<const std::byte> bytes) {
    if (bytes.empty()) return;
    std::memcpy(staging.data() + staged, bytes.data(), bytes.size());
    if (in_staging) {
      vectors[gathered.vectors - 1].iov_len += bytes.size();
    } else {
      vectors[gathered.vectors++] = {staging.data() + staged, bytes.size()};
      in_staging = true;
    }
    staged += bytes.size();
    gathered.bytes += bytes.size();
  };

  std::size_t skip = offset_;
  for (std::size_t i = 0; i < count_; ++i) {
    Frame& frame = *at(i).frame;
    const bool copied = frame.header.length <= kCopiedPayload;
    // Whole frames only, and a frame needs at most two vectors.
    if (staging.size() - staged < sizeof(FrameHeader) + (copied ? frame.header.length : 0)) break;
    if (vectors.size() - gathered.vectors < 2) break;

    const std::size_t of_header = std::min(skip, sizeof(FrameHeader));
    stage(header_bytes(frame).subspan(of_header));
    const auto payload = frame.payload().subspan(skip - of_header);
    if (copied) {
      stage(payload);
    } else {
      vectors[gathered.vectors++] = {payload.data(), payload.size()};
      gathered.bytes += payload.size();
      in_staging = false;
    }
    skip = 0;
  }
  return gathered;
}

void SendQueue::consume(std::size_t bytes) noexcept {
  assert(bytes <= bytes_);
  bytes_ -= bytes;
  offset_ += bytes;
  while (count_ != 0) {
    const std::size_t size = wire_size(*at(0).frame);
    if (offset_ < size) return;
    offset_ -= size;
    pop();
  }
}

void SendQueue::clear() noexcept {
  while (count_ != 0) pop();
  bytes_ = 0;
  offset_ = 0;
}

void SendQueue::pop() noexcept {
  const Entry entry = at(0);
  head_ = (head_ + 1) & (capacity_ - 1);
  --count_;
  if (entry.owned) {
    FramePtr(entry.frame).reset();
  } else {
    FramePool::unpin(*entry.frame);
  }
}

}  // namespace godwit::fabric::tcp
