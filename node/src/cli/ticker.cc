#include "cli/ticker.h"

#include <poll.h>
#include <pthread.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <utility>

namespace godwit::node::cli {

Result<Ticker> Ticker::create(std::chrono::nanoseconds interval, bool keys) {
  if (interval < kShortest)
    return fail(Errc::invalid_argument, "an interval of less than 10ms would only measure itself");
  Ticker ticker;
  sigset_t watched;
  sigset_t former;
  sigemptyset(&watched);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGWINCH}) sigaddset(&watched, signal);
  // Without a screen to restore, Ctrl-Z needs nothing from us.
  if (keys) sigaddset(&watched, SIGTSTP);
  pthread_sigmask(SIG_BLOCK, &watched, &former);
  ticker.former_ = former;
  ticker.keys_ = keys;
  ticker.signals_ = ::signalfd(-1, &watched, SFD_CLOEXEC | SFD_NONBLOCK);
  ticker.timer_ = ::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
  if (ticker.signals_ < 0 || ticker.timer_ < 0) return fail_errno("cannot watch signals and time");
  itimerspec times{};
  times.it_interval.tv_sec = interval.count() / 1'000'000'000;
  times.it_interval.tv_nsec = interval.count() % 1'000'000'000;
  times.it_value = times.it_interval;
  if (::timerfd_settime(ticker.timer_, 0, &times, nullptr) != 0)
    return fail_errno("cannot set a timer");
  return ticker;
}

Ticker::Ticker(Ticker&& other) noexcept
    : former_(std::exchange(other.former_, std::nullopt)),
      signals_(std::exchange(other.signals_, -1)),
      timer_(std::exchange(other.timer_, -1)),
      keys_(other.keys_),
      key_(other.key_) {}

Ticker::~Ticker() {
  if (signals_ >= 0) ::close(signals_);
  if (timer_ >= 0) ::close(timer_);
  if (former_) pthread_sigmask(SIG_SETMASK, &*former_, nullptr);
}

Ticker::Event Ticker::wait() {
  while (true) {
    std::array<pollfd, 3> ready = {
        {{signals_, POLLIN, 0}, {keys_ ? STDIN_FILENO : -1, POLLIN, 0}, {timer_, POLLIN, 0}}};
    if (::poll(ready.data(), ready.size(), -1) < 0) {
      if (errno == EINTR) continue;
      return Event::stop;
    }
    signalfd_siginfo info{};
    if (ready[0].revents != 0 && ::read(signals_, &info, sizeof info) == sizeof info) {
      if (info.ssi_signo == SIGWINCH) return Event::resize;
      if (info.ssi_signo == SIGTSTP) return Event::suspend;
      return Event::stop;
    }
    if (ready[1].revents != 0) {
      // The end of standard input: the terminal is gone.
      if (::read(STDIN_FILENO, &key_, 1) != 1) return Event::stop;
      return Event::key;
    }
    std::uint64_t expirations = 0;
    if (ready[2].revents != 0 && ::read(timer_, &expirations, sizeof expirations) > 0)
      return Event::tick;
  }
}

// SIGSTOP and not SIGTSTP, which is blocked: it stops as surely, and the shell sees the same.
void Ticker::suspend() {
  ::kill(::getpid(), SIGSTOP);
}

}  // namespace godwit::node::cli
