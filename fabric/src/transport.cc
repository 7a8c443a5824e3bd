#include "godwit/fabric/transport.h"

#include <sys/random.h>

#include <array>
#include <cstdio>

namespace godwit::fabric {

namespace {
constexpr std::array<std::pair<TransportKind, std::string_view>, 5> kNames = {{
    {TransportKind::shm, "shm"},
    {TransportKind::verbs, "verbs"},
    {TransportKind::ucx, "ucx"},
    {TransportKind::tcp, "tcp"},
    {TransportKind::loopback, "loopback"},
}};
}  // namespace

std::string_view to_string(TransportKind kind) noexcept {
  for (const auto& [value, name] : kNames) {
    if (value == kind) return name;
  }
  return "unknown";
}

Result<TransportKind> parse_transport(std::string_view name) {
  for (const auto& [value, text] : kNames) {
    if (text == name) return value;
  }
  return fail(Errc::invalid_argument,
              "no transport '" + std::string(name) + "': choose shm, verbs, ucx or tcp");
}

Result<std::unique_ptr<Exposure>> Connection::expose(std::span<std::byte>, Access) {
  return fail(Errc::not_supported);
}

void Connection::start(OneSidedCopy& copy) {
  copy.end(Error{Errc::not_supported, {}, {}});
}

void Connection::give_up(OneSidedCopy&) noexcept {}

EngineId EngineId::random() {
  EngineId id;
  auto* bytes = reinterpret_cast<char*>(&id);
  std::size_t have = 0;
  while (have < sizeof id) {
    const ssize_t got = getrandom(bytes + have, sizeof id - have, 0);
    if (got > 0) have += static_cast<std::size_t>(got);
  }
  return id;
}

std::string EngineId::to_string() const {
  std::array<char, 33> text{};
  std::snprintf(text.data(), text.size(), "%016llx%016llx", static_cast<unsigned long long>(high),
                static_cast<unsigned long long>(low));
  return text.data();
}

}  // namespace godwit::fabric
