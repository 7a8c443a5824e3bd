#include "cli/screen.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <string>

namespace godwit::node::cli {
namespace {

// ECMA-48 and xterm's alternate screen.
constexpr std::string_view kEnter = "\x1b[?1049h\x1b[?25l";
constexpr std::string_view kLeave = "\x1b[0m\x1b[?25h\x1b[?1049l";
constexpr std::string_view kHome = "\x1b[H";
constexpr std::string_view kEraseLine = "\x1b[K";
constexpr std::string_view kEraseBelow = "\x1b[J";
constexpr std::string_view kReverse = "\x1b[7m";
constexpr std::string_view kPlain = "\x1b[0m";

// The whole frame in one go, so that it does not flicker.
void put(std::string_view text) {
  while (!text.empty()) {
    const ssize_t put = ::write(STDOUT_FILENO, text.data(), text.size());
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0) return;  // the terminal is gone; the ticker ends the display
    text.remove_prefix(static_cast<std::size_t>(put));
  }
}

}  // namespace

bool Screen::possible() {
  const char* terminal = std::getenv("TERM");
  return ::isatty(STDIN_FILENO) != 0 && ::isatty(STDOUT_FILENO) != 0 && terminal != nullptr &&
         std::string_view(terminal) != "dumb";
}

void Screen::enter() {
  if (entered_ || ::tcgetattr(STDIN_FILENO, &former_) != 0) return;
  termios raw = former_;
  raw.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO);
  raw.c_cc[VMIN] = 1;
  raw.c_cc[VTIME] = 0;
  ::tcsetattr(STDIN_FILENO, TCSANOW, &raw);
  entered_ = true;
  put(kEnter);
}

void Screen::leave() {
  if (!entered_) return;
  entered_ = false;
  put(kLeave);
  // Keys typed meanwhile were not meant for the shell.
  ::tcsetattr(STDIN_FILENO, TCSAFLUSH, &former_);
}

void Screen::show(std::string_view text) {
  winsize size{};
  if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_row == 0 || size.ws_col == 0)
    size = {.ws_row = 24, .ws_col = 80, .ws_xpixel = 0, .ws_ypixel = 0};
  std::string frame(kHome);
  for (unsigned row = 0; row < size.ws_row && !text.empty(); ++row) {
    const std::size_t end = text.find('\n');
    std::string_view line = text.substr(0, end);
    text = end == std::string_view::npos ? std::string_view() : text.substr(end + 1);
    if (row > 0) frame += "\r\n";
    const bool title = !line.empty() && line.front() == kTitle;
    if (title) line.remove_prefix(1);
    if (title) frame += kReverse;
    frame += cut(line, size.ws_col);
    if (title) frame += kPlain;
    frame += kEraseLine;
  }
  frame += kEraseBelow;
  put(frame);
}

std::string_view cut(std::string_view line, std::size_t columns) {
  std::size_t end = 0;
  for (std::size_t taken = 0; end < line.size(); ++end) {
    const bool starts = (static_cast<unsigned char>(line[end]) & 0xc0) != 0x80;
    if (starts && taken++ == columns) break;
  }
  return line.substr(0, end);
}

}  // namespace godwit::node::cli
