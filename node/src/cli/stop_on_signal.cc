#include "cli/stop_on_signal.h"

#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>

namespace godwit::node::cli {

StopOnSignal::StopOnSignal() {
  sigset_t watched;
  sigemptyset(&watched);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) sigaddset(&watched, signal);
  pthread_sigmask(SIG_BLOCK, &watched, &former_);
  signals_ = ::signalfd(-1, &watched, SFD_CLOEXEC);
  ending_ = ::eventfd(0, EFD_CLOEXEC);
  if (signals_ < 0 || ending_ < 0) {
    // Without descriptors nothing can be watched; the signals then end the program as usual.
    pthread_sigmask(SIG_SETMASK, &former_, nullptr);
    return;
  }
  watcher_ = std::thread([this] { watch(); });
}

StopOnSignal::~StopOnSignal() {
  if (watcher_.joinable()) {
    const std::uint64_t one = 1;
    // An eventfd takes a first write always.
    if (::write(ending_, &one, sizeof one) == sizeof one) watcher_.join();
  }
  if (signals_ >= 0) ::close(signals_);
  if (ending_ >= 0) ::close(ending_);
  pthread_sigmask(SIG_SETMASK, &former_, nullptr);
}

void StopOnSignal::watch() {
  while (true) {
    std::array<pollfd, 2> ready = {{{signals_, POLLIN, 0}, {ending_, POLLIN, 0}}};
    if (::poll(ready.data(), ready.size(), -1) < 0 && errno != EINTR) return;
    if (ready[1].revents != 0) return;
    if (ready[0].revents == 0) continue;
    signalfd_siginfo info{};
    if (::read(signals_, &info, sizeof info) != sizeof info) continue;
    if (source_.request_stop()) continue;
    const int signal = static_cast<int>(info.ssi_signo);
    std::signal(signal, SIG_DFL);
    sigset_t only;
    sigemptyset(&only);
    sigaddset(&only, signal);
    pthread_sigmask(SIG_UNBLOCK, &only, nullptr);
    ::raise(signal);
  }
}

}  // namespace godwit::node::cli
