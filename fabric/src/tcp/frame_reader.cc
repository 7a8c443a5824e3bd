#include "tcp/frame_reader.h"

#include <algorithm>
#include <cassert>
#include <cstring>
#include <string>
#include <utility>

namespace godwit::fabric::tcp {

namespace {
// A header alone, or a header and all but the last byte of a small payload.
constexpr std::size_t kCarry = sizeof(FrameHeader) + kSmallPayload;
}  // namespace

FrameReader::Room FrameReader::room(std::span<std::byte> scratch) noexcept {
  assert(scratch.size() >= kScratch);
  Room room;
  const auto add = [&room](std::byte* at, std::size_t size) {
    room.vectors[static_cast<std::size_t>(room.count++)] = {at, size};
    room.bytes += size;
  };
  if (!in_large_) {
    if (carried_size_ != 0) std::memcpy(scratch.data(), carried_.get(), carried_size_);
    add(scratch.data() + carried_size_, std::min(read_ahead_, scratch.size() - carried_size_));
    return room;
  }
  const std::size_t missing = large_header_.length - filled_;
  if (large_.empty()) {
    add(scratch.data(), std::min(missing, scratch.size()));
  } else {
    add(large_.data() + filled_, missing);
    add(scratch.data(), read_ahead_);
  }
  return room;
}

Result<void> FrameReader::received(std::span<std::byte> scratch, std::size_t size) {
  if (!in_large_) {
    // Frames that fill all that was asked for: ask for more.
    if (size >= read_ahead_) read_ahead_ = std::min(read_ahead_ * 4, kScratch);
    const std::size_t whole = std::exchange(carried_size_, 0) + size;
    return parse(scratch.first(whole));
  }
  const std::size_t taken = std::min(size, large_header_.length - filled_);
  filled_ += taken;
  if (filled_ < large_header_.length) return {};
  finish_large();
  return parse(scratch.first(size - taken));
}

Result<void> FrameReader::parse(std::span<const std::byte> bytes) {
  while (!stopped_ && bytes.size() >= sizeof(FrameHeader)) {
    FrameHeader header;
    std::memcpy(&header, bytes.data(), sizeof header);
    if (header.length > max_payload_) {
      return fail(Errc::protocol_error, "the peer sent a frame of " +
                                            std::to_string(header.length) +
                                            " bytes; the limit is " + std::to_string(max_payload_));
    }
    if (header.fabric != 0) {
      return fail(Errc::protocol_error, "the peer sent a frame header with an unknown use");
    }
    const auto rest = bytes.subspan(sizeof header);
    if (header.length <= kSmallPayload) {
      if (rest.size() < header.length) break;
      ++counters_.frames_received;
      counters_.bytes_received += header.length;
      events_.on_frame(connection_, header, rest.first(header.length), Buffer());
      bytes = rest.subspan(header.length);
    } else {
      begin_large(header);
      if (stopped_) return {};
      filled_ = std::min<std::size_t>(rest.size(), header.length);
      if (!large_.empty()) std::memcpy(large_.data(), rest.data(), filled_);
      bytes = rest.subspan(filled_);
      if (filled_ == header.length) finish_large();
    }
  }
  if (!stopped_) carry(bytes);
  return {};
}

void FrameReader::begin_large(const FrameHeader& header) {
  Buffer buffer = events_.place(connection_, header);
  if (stopped_) return;
  // A Buffer of another size would be written past its end, or hide that bytes are missing.
  assert(buffer.empty() || buffer.size() == header.length);
  if (buffer.size() != header.length) buffer = Buffer();
  large_ = std::move(buffer);
  large_header_ = header;
  in_large_ = true;
  read_ahead_ = kShortRead;
}

void FrameReader::finish_large() {
  in_large_ = false;
  ++counters_.frames_received;
  counters_.bytes_received += large_header_.length;
  Buffer buffer = std::exchange(large_, Buffer());
  const std::span<const std::byte> payload = buffer.span();
  events_.on_frame(connection_, large_header_, payload, std::move(buffer));
}

void FrameReader::carry(std::span<const std::byte> bytes) {
  if (bytes.empty()) return;
  assert(bytes.size() < kCarry);
  if (carried_ == nullptr) carried_ = std::make_unique<std::byte[]>(kCarry);
  std::memcpy(carried_.get(), bytes.data(), bytes.size());
  carried_size_ = bytes.size();
}

void FrameReader::stop() noexcept {
  stopped_ = true;
  in_large_ = false;
  large_ = Buffer();
  carried_.reset();
  carried_size_ = 0;
}

}  // namespace godwit::fabric::tcp
