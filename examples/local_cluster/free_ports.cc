#include "free_ports.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <random>

#include "descriptor.h"

namespace godwit::local_cluster {

namespace {

constexpr std::uint16_t kFirst = 16'000;
constexpr std::uint16_t kLast = 32'000;  // outgoing connections begin at 32768 unless configured
constexpr int kAttempts = 10'000;

}  // namespace

Result<std::vector<std::uint16_t>> free_ports(std::size_t count) {
  std::random_device random;
  std::uniform_int_distribution<std::uint16_t> any(kFirst, kLast);
  std::vector<Descriptor> held;  // until the last is known, so that all differ
  std::vector<std::uint16_t> ports;
  for (int attempt = 0; ports.size() < count; ++attempt) {
    if (attempt == kAttempts) return fail(Errc::system, "no free port on the loopback device");
    Descriptor socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(any(random));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
      continue;
    }
    ports.push_back(ntohs(address.sin_port));
    held.push_back(std::move(socket));
  }
  return ports;
}

}  // namespace godwit::local_cluster
