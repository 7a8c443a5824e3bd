// The two halves of a channel's window, for one stream in one direction. Pure state, no I/O.
//
// A slot holds a message from the moment it is accepted until the peer's application has received
// it (the cumulative acknowledgement). So one window is the flow control, the retention and the
// duplicate filter (docs/channel.md). Numbers are 32 bits, start at 1 and wrap; all comparisons are
// modular, which is sound because both ends are never further apart than the window.
#pragma once

#include <array>
#include <cstdint>

namespace godwit::channel {

/// Slots per stream and direction.
inline constexpr std::uint32_t kWindow = 256;

using Number = std::uint32_t;

/// Distance from `from` to `to`, negative if `to` is before `from`.
constexpr std::int32_t distance(Number from, Number to) noexcept {
  return static_cast<std::int32_t>(to - from);
}

/// The sender's half: acknowledged <= sent <= next. The messages themselves are the driver's.
class SendWindow {
 public:
  /// `first` is the number of the first message; tests start near the wrap.
  explicit SendWindow(Number first = 1) noexcept
      : acknowledged_(first), sent_(first), highest_sent_(first), next_(first) {}

  bool full(std::uint32_t limit = kWindow) const noexcept { return next_ - acknowledged_ >= limit; }
  bool empty() const noexcept { return next_ == acknowledged_; }
  bool has_unsent() const noexcept { return sent_ != next_; }
  std::uint32_t retained() const noexcept { return next_ - acknowledged_; }

  Number acknowledged() const noexcept { return acknowledged_; }  // the oldest that is retained
  Number sent() const noexcept { return sent_; }                  // the next to transmit
  Number next() const noexcept { return next_; }                  // the next to accept

  /// Takes a slot; the window must not be full.
  Number accept() noexcept { return next_++; }
  /// The next message has been handed to the connection; has_unsent() must hold.
  Number transmit() noexcept {
    const Number number = sent_++;
    if (distance(highest_sent_, sent_) > 0) highest_sent_ = sent_;
    return number;
  }
  /// Whether the peer may have seen this message.
  bool was_transmitted(Number number) const noexcept { return distance(number, highest_sent_) > 0; }

  struct Ack {
    bool valid = false;
    std::uint32_t freed = 0;  // this many of the oldest slots are free now
  };
  /// The peer's application has received all before `ack`. Invalid: it names what was never sent.
  Ack on_ack(Number ack) noexcept {
    const std::int32_t freed = distance(acknowledged_, ack);
    if (freed <= 0) return {true, 0};  // nothing new, or an old frame that was late
    if (distance(ack, highest_sent_) < 0) return {};
    acknowledged_ = ack;
    if (distance(sent_, ack) > 0) sent_ = ack;
    return {true, static_cast<std::uint32_t>(freed)};
  }

  /// Whether the peer can have all before `number`: false if some of it was never sent.
  bool may_have(Number number) const noexcept { return distance(number, highest_sent_) >= 0; }

  /// All before `arrived` is at the peer (may_have() holds), the rest must be sent (again). Returns
  /// how many will be sent again.
  std::uint32_t rewind(Number arrived) noexcept {
    if (distance(acknowledged_, arrived) < 0) arrived = acknowledged_;
    const std::uint32_t resent = distance(arrived, sent_) > 0 ? sent_ - arrived : 0;
    sent_ = arrived;
    return resent;
  }

  /// The endpoint has moved. The copy at the old place had all that was accepted, and may have sent
  /// it after this copy was made.
  void on_moved() noexcept { highest_sent_ = next_; }

  /// The window as it moves: what was not acknowledged, `retained` messages, may have been sent.
  static SendWindow restored(Number acknowledged, std::uint32_t retained) noexcept {
    SendWindow window(acknowledged);
    window.next_ = window.highest_sent_ = acknowledged + retained;
    return window;
  }

 private:
  Number acknowledged_;
  Number sent_;
  Number highest_sent_;  // what sent_ reached at most: the peer cannot know more
  Number next_;
};

/// The receiver's half: received <= arrived. Messages before `arrived` were delivered to the inbox;
/// those before `received` were all taken by the application.
class ReceiveWindow {
 public:
  explicit ReceiveWindow(Number first = 1) noexcept : arrived_(first), received_(first) {}

  enum class Verdict : std::uint8_t {
    deliver,    // put it into the inbox
    duplicate,  // drop it silently
    gap,        // drop it, and tell the sender by a report what is missing
    overrun,    // breaks the protocol: the sender has no slot for it
  };

  Number arrived() const noexcept { return arrived_; }
  Number received() const noexcept { return received_; }
  std::uint32_t queued() const noexcept { return arrived_ - received_; }

  Verdict on_frame(Number number) noexcept {
    if (number == arrived_ && queued() < kWindow) [[likely]] {
      ++arrived_;
      // Taken out of order before forget_untaken(). This must not acknowledge anything: only what
      // the application does may, for a copy left behind at an old place has none.
      if (out_of_order_ && is_taken(number)) [[unlikely]]
        return Verdict::duplicate;
      return Verdict::deliver;
    }
    if (distance(number, arrived_) > 0) return Verdict::duplicate;
    return distance(received_, number) < static_cast<std::int32_t>(kWindow) ? Verdict::gap
                                                                            : Verdict::overrun;
  }

  /// The application took the message, which was delivered; any order, once each.
  void on_taken(Number number) noexcept {
    if (number == received_ && !out_of_order_) [[likely]] {
      ++received_;
      return;
    }
    taken_[number % kWindow / 64] |= std::uint64_t{1} << number % 64;
    while (is_taken(received_)) {
      taken_[received_ % kWindow / 64] &= ~(std::uint64_t{1} << received_ % 64);
      ++received_;
    }
    // What was taken before forget_untaken() need not come again.
    if (distance(arrived_, received_) > 0) arrived_ = received_;
    out_of_order_ = (taken_[0] | taken_[1] | taken_[2] | taken_[3]) != 0;
  }

  /// What was delivered but not taken is gone (a move was given up, and the inbox with it): the
  /// peer sends it again. What was taken out of order stays marked: on_frame() calls it a
  /// duplicate.
  void forget_untaken() noexcept { arrived_ = received_; }

  using Taken = std::array<std::uint64_t, 4>;
  /// What was taken out of order, by number modulo the window.
  const Taken& taken() const noexcept { return taken_; }
  bool is_taken(Number number) const noexcept {
    return (taken_[number % kWindow / 64] >> number % 64 & 1) != 0;
  }
  /// The window as it moves: with what had arrived before `arrived`, which is at most a window
  /// above `received`.
  static ReceiveWindow restored(Number received, Number arrived, const Taken& taken) noexcept {
    ReceiveWindow window(received);
    window.arrived_ = arrived;
    window.taken_ = taken;
    window.out_of_order_ = (taken[0] | taken[1] | taken[2] | taken[3]) != 0;
    return window;
  }

 private:
  static_assert(kWindow == 256, "the bitmap below is four words");

  Number arrived_;
  Number received_;
  bool out_of_order_ = false;
  Taken taken_{};  // numbers taken after received_, modulo the window
};

}  // namespace godwit::channel
