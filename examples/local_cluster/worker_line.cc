#include "worker_line.h"

#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstdio>

namespace godwit::local_cluster {

WorkerLine WorkerLine::parse(std::string_view line) {
  const auto take_word = [&line] {
    const auto end = line.find(' ');
    const std::string_view word = line.substr(0, end);
    line = end == std::string_view::npos ? std::string_view() : line.substr(end + 1);
    return word;
  };
  WorkerLine parsed{std::string(take_word())};
  while (!line.empty()) {
    const std::string_view word = take_word();
    const auto equals = word.find('=');
    if (equals == std::string_view::npos) continue;
    parsed.values_.emplace(word.substr(0, equals), word.substr(equals + 1));
  }
  return parsed;
}

WorkerLine& WorkerLine::with(std::string key, std::string_view value) {
  std::string& stored = values_[std::move(key)];
  stored = value;
  for (char& each : stored) {
    if (each == ' ' || each == '\n') each = '_';
  }
  return *this;
}

std::string WorkerLine::text(const std::string& key) const {
  const auto found = values_.find(key);
  return found == values_.end() ? std::string() : found->second;
}

std::uint64_t WorkerLine::number(const std::string& key) const {
  const std::string value = text(key);
  std::uint64_t number = 0;
  std::from_chars(value.data(), value.data() + value.size(), number);
  return number;
}

std::string WorkerLine::to_string() const {
  std::string line = what_;
  for (const auto& [key, value] : values_) line += " " + key + "=" + value;
  return line;
}

void WorkerLine::say() const {
  const std::string line = to_string() + "\n";
  std::fwrite(line.data(), 1, line.size(), stdout);
  std::fflush(stdout);
}

Command read_command() {
  static std::string unread;  // standard input is one, too
  Command command;
  char piece[256];
  pollfd input{STDIN_FILENO, POLLIN, 0};  // a socket, or a pipe of whatever started it
  while (::poll(&input, 1, 0) > 0) {
    const auto got = ::read(STDIN_FILENO, piece, sizeof piece);
    if (got > 0) {
      unread.append(piece, static_cast<std::size_t>(got));
      continue;
    }
    command.closed = got == 0 || (errno != EAGAIN && errno != EINTR);
    break;
  }
  if (const auto end = unread.find('\n'); end != std::string::npos) {
    command.line = unread.substr(0, end);
    unread.erase(0, end + 1);
  }
  return command;
}

}  // namespace godwit::local_cluster
