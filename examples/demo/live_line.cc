#include "live_line.h"

#include <unistd.h>

namespace demo {

namespace {

constexpr auto kRefresh = std::chrono::milliseconds(80);

}  // namespace

LiveLine::LiveLine(std::FILE* out) : out_(out), terminal_(::isatty(::fileno(out)) != 0) {}

void LiveLine::clear() {
  if (dirty_) std::fputs("\r\x1b[K", out_);
  dirty_ = false;
  std::fflush(out_);
}

void LiveLine::begin(std::string phase) {
  clear();
  phase_ = std::move(phase);
  began_ = std::chrono::steady_clock::now();
  shown_ = {};
  if (terminal_) return show("");
  std::fprintf(out_, "%s ...\n", phase_.c_str());
  std::fflush(out_);
}

void LiveLine::show(const std::string& detail) {
  const auto now = std::chrono::steady_clock::now();
  if (!terminal_ || now - shown_ < kRefresh) return;
  shown_ = now;
  const std::chrono::duration<double> since = now - began_;
  std::fprintf(out_, "\r\x1b[K%c %-44s %5.1f s  %s", "|/-\\"[turn_++ % 4], phase_.c_str(),
               since.count(), detail.c_str());
  std::fflush(out_);
  dirty_ = true;
}

void LiveLine::end(const std::string& outcome) {
  clear();
  const std::chrono::duration<double> since = std::chrono::steady_clock::now() - began_;
  std::fprintf(out_, "  %-44s %5.1f s  %s\n", phase_.c_str(), since.count(), outcome.c_str());
  std::fflush(out_);
}

}  // namespace demo
