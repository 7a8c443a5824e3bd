#include "ucx/reorder.h"

#include <cassert>
#include <utility>

namespace godwit::fabric::ucx {

bool Reorder::claim(std::uint32_t sequence) {
  const std::uint32_t ahead = sequence - next_;  // modulo 2^32: numbers wrap
  if (ahead >= window_) return false;
  if (ahead >= slots_.size()) slots_.resize(ahead + 1);
  Slot& slot = slots_[ahead];
  if (slot.state != Slot::State::absent) return false;
  slot.state = Slot::State::claimed;
  return true;
}

void Reorder::fill(std::uint32_t sequence, HeldFrame frame) noexcept {
  const std::uint32_t ahead = sequence - next_;
  assert(ahead < slots_.size() && slots_[ahead].state == Slot::State::claimed);
  slots_[ahead].frame = std::move(frame);
  slots_[ahead].state = Slot::State::filled;
}

std::optional<HeldFrame> Reorder::pop() noexcept {
  if (slots_.empty() || slots_.front().state != Slot::State::filled) return std::nullopt;
  std::optional<HeldFrame> frame(std::move(slots_.front().frame));
  slots_.pop_front();
  ++next_;
  return frame;
}

}  // namespace godwit::fabric::ucx
