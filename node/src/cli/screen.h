// Screen: a terminal taken over for a live display, and given back as it was.
//
// Uses the sequences that every ANSI terminal knows, on the alternate screen, so that what was
// shown before is there again afterwards. Owner: a command's action, on its thread; at most one at
// a time.
#pragma once

#include <termios.h>

#include <cstddef>
#include <string>
#include <string_view>

#include "godwit/error.h"

namespace godwit::node::cli {

class Screen {
 public:
  /// Whether standard input and output are a terminal that can show one.
  static bool possible();

  Screen() { enter(); }
  ~Screen() { leave(); }
  Screen(const Screen&) = delete;
  Screen& operator=(const Screen&) = delete;

  /// Keys come one by one without echo; Ctrl-C and Ctrl-Z still make signals.
  void enter();
  /// Gives the terminal back; enter() takes it again.
  void leave();

  /// Shows the lines of `text` that fit, the first ones, each cut at the right edge. Lines that
  /// begin with a reverse-video mark (kTitle) are shown so.
  void show(std::string_view text);

  static constexpr char kTitle = '\x01';

 private:
  termios former_{};
  bool entered_ = false;
};

/// The part of a printable line that fits `columns` columns.
std::string_view cut(std::string_view line, std::size_t columns);

}  // namespace godwit::node::cli
