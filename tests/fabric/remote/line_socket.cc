#include "fabric/remote/line_socket.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>

namespace godwit::fabric::testing {

LineSocket::~LineSocket() {
  ::close(fd_);
}

std::string LineSocket::own_host() const {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  char host[NI_MAXHOST];
  if (getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &size) != 0 ||
      address.ss_family == AF_UNIX ||
      getnameinfo(reinterpret_cast<sockaddr*>(&address), size, host, sizeof host, nullptr, 0,
                  NI_NUMERICHOST) != 0) {
    return "127.0.0.1";
  }
  return host;
}

bool LineSocket::send(std::string line) {
  line += '\n';
  for (std::size_t done = 0; done < line.size();) {
    const ssize_t sent = ::send(fd_, line.data() + done, line.size() - done, MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent <= 0) {
      ended_ = true;
      return false;
    }
    done += static_cast<std::size_t>(sent);
  }
  return true;
}

std::optional<std::string> LineSocket::take() {
  char bytes[4096];
  while (!ended_ && arrived_.find('\n') == std::string::npos) {
    const ssize_t got = recv(fd_, bytes, sizeof bytes, MSG_DONTWAIT);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return std::nullopt;
    ended_ = got <= 0 || arrived_.size() > kMaxLine;
    if (got > 0) arrived_.append(bytes, static_cast<std::size_t>(got));
  }
  const std::size_t end = arrived_.find('\n');
  if (end == std::string::npos) return std::nullopt;
  std::string line = arrived_.substr(0, end);
  arrived_.erase(0, end + 1);
  return line;
}

void LineSocket::wait(int milliseconds) const {
  pollfd readable{fd_, POLLIN, 0};
  poll(&readable, 1, milliseconds);
}

Words words_of(std::string_view line) {
  Words words;
  while (true) {
    const std::size_t end = line.find(' ');
    words.emplace_back(line.substr(0, end));
    if (end == std::string_view::npos) return words;
    line.remove_prefix(end + 1);
  }
}

std::string to_hex(std::string_view bytes) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text;
  for (const char each : bytes) {
    text += kDigits[static_cast<unsigned char>(each) >> 4];
    text += kDigits[static_cast<unsigned char>(each) & 15];
  }
  return text;
}

std::optional<std::string> from_hex(std::string_view text) {
  std::string bytes;
  if (text.size() % 2 != 0) return std::nullopt;
  for (; !text.empty(); text.remove_prefix(2)) {
    std::uint8_t byte{};
    const auto [end, error] = std::from_chars(text.data(), text.data() + 2, byte, 16);
    if (error != std::errc() || end != text.data() + 2) return std::nullopt;
    bytes += static_cast<char>(byte);
  }
  return bytes;
}

}  // namespace godwit::fabric::testing
