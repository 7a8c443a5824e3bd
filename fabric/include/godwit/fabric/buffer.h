// Buffer: the owner of a piece of memory that some pool, mapping or user gave.
//
// Move-only. Destroying it tells the giver, once, on whatever thread that happens; givers document
// what they do then (an Arena takes the block back, a shared-memory peer gets a release frame, user
// memory ends a copy).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

namespace godwit::fabric {

class Buffer {
 public:
  /// Called exactly once with the giver's context and the token given at construction.
  using Release = void (*)(void* context, std::uint64_t token) noexcept;

  Buffer() noexcept = default;
  Buffer(std::byte* data, std::size_t size, Release release, void* context,
         std::uint64_t token = 0) noexcept
      : data_(data), size_(size), release_(release), context_(context), token_(token) {}

  /// Memory that somebody else keeps alive for as long as this Buffer exists.
  static Buffer unowned(std::byte* data, std::size_t size) noexcept {
    return Buffer(data, size, nullptr, nullptr);
  }

  Buffer(Buffer&& other) noexcept { swap(other); }
  Buffer& operator=(Buffer&& other) noexcept {
    Buffer taken(std::move(other));
    swap(taken);
    return *this;
  }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() {
    if (release_ != nullptr) release_(context_, token_);
  }

  void swap(Buffer& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    std::swap(release_, other.release_);
    std::swap(context_, other.context_);
    std::swap(token_, other.token_);
  }

  std::byte* data() const noexcept { return data_; }
  std::size_t size() const noexcept { return size_; }
  bool empty() const noexcept { return data_ == nullptr; }
  std::span<std::byte> span() const noexcept { return {data_, size_}; }

  /// Makes the visible part shorter; the memory stays owned whole. `size` must not exceed size().
  void shrink(std::size_t size) noexcept { size_ = size; }

  /// Who gave the memory: lets a transport recognise blocks of an Arena it can hand over by
  /// reference.
  const void* context() const noexcept { return context_; }
  std::uint64_t token() const noexcept { return token_; }

 private:
  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
  Release release_ = nullptr;
  void* context_ = nullptr;
  std::uint64_t token_ = 0;
};

}  // namespace godwit::fabric
