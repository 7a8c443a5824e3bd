// Flow control of the verbs transport: who may send how much into whose receive buffers.
//
// All connections of an engine share one receive queue. Each peer is promised a number of its
// buffers, its window; all windows together never exceed the buffers that are posted, so the queue
// cannot run dry, whatever the peers do at once. A peer that sends more than its window breaks the
// protocol. Pure; engine's thread only.
#pragma once

#include <algorithm>
#include <cstdint>

namespace godwit::fabric::verbs {

/// Both directions of one connection. The buffer of the goodbye is not counted: each window has one
/// more than it says.
class Credits {
 public:
  /// Buffers that each side has for the peer's handshake, before it knows the window.
  static constexpr std::uint32_t kHandshake = 4;
  static constexpr std::uint32_t kSmallestWindow = 4;

  /// `window`: what this side keeps for the peer.
  explicit Credits(std::uint32_t window) noexcept : window_(window) {}

  // Sending.
  /// The last credit is for updates: with it a side can always return what it owes, so two sides
  /// never wait for each other.
  bool may_send() const noexcept { return available_ > 1; }
  bool may_update() const noexcept { return available_ > 0; }
  void spend() noexcept { --available_; }
  /// The peer's window is known now.
  void open(std::uint32_t peer_window) noexcept {
    available_ += peer_window - kHandshake;
    peer_window_ = peer_window;
  }
  /// The peer's buffers are free again; false if there never were as many.
  bool returned(std::uint32_t count) noexcept {
    available_ += count;
    return available_ <= peer_window_;
  }
  std::uint32_t available() const noexcept { return available_; }

  // Receiving.
  /// A message of the peer takes one of its buffers; false if it had none left.
  bool arrived() noexcept {
    ++taken_;
    return taken_ <= window_;
  }
  /// The message was dealt with, and its buffer is free.
  void freed() noexcept { ++owed_; }
  /// What the peer is told of with the next message.
  std::uint32_t take_owed(std::uint32_t most) noexcept {
    const std::uint32_t count = std::min(owed_, most);
    owed_ -= count;
    taken_ -= count;
    return count;
  }
  /// Enough is owed to be worth a message of its own.
  bool update_due() const noexcept { return owed_ != 0 && owed_ >= window_ / 2; }

  std::uint32_t window() const noexcept { return window_; }

 private:
  std::uint32_t window_;
  std::uint32_t peer_window_ = kHandshake;
  std::uint32_t available_ = kHandshake;
  std::uint32_t taken_ = 0;  // of the window: messages that came and are not told as free
  std::uint32_t owed_ = 0;   // of these, free
};

/// Windows for connections out of a limited number of buffers: full ones while there is plenty,
/// smaller ones for those who come later, none at all rather than a promise that cannot be kept.
class WindowBudget {
 public:
  WindowBudget(std::uint32_t buffers, std::uint32_t window) noexcept
      : total_(buffers), left_(buffers), window_(std::max(window, Credits::kSmallestWindow)) {}

  /// The window of a new connection; 0: no buffers are left.
  std::uint32_t take() noexcept {
    std::uint32_t window = window_;
    if (left_ < total_ / 2) window = std::min(window, std::max(window_ / 4, kSmallest));
    if (left_ < total_ / 4) window = std::min(window, std::max(window_ / 8, kSmallest));
    if (left_ < total_ / 16) window = kSmallest;
    if (left_ < window + 1) window = kSmallest;
    if (left_ < window + 1) return 0;
    left_ -= window + 1;  // one for the goodbye
    return window;
  }
  void give_back(std::uint32_t window) noexcept { left_ += window + 1; }

  /// Buffers that must be posted for the windows given.
  std::uint32_t promised() const noexcept { return total_ - left_; }
  std::uint32_t left() const noexcept { return left_; }

 private:
  static constexpr std::uint32_t kSmallest = Credits::kSmallestWindow;

  std::uint32_t total_;
  std::uint32_t left_;
  std::uint32_t window_;
};

}  // namespace godwit::fabric::verbs
