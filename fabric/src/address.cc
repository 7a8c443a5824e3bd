#include "godwit/fabric/address.h"

#include <arpa/inet.h>
#include <unistd.h>

#include <fstream>

#include "godwit/fabric/address.pb.h"
#include "names.h"

namespace godwit::fabric {

namespace {

// First in each blob: anything else is no address, or one of a format not known here.
constexpr std::string_view kMagic = "GWA1";

bool numeric_host(const std::string& host) {
  in6_addr parsed;  // room for either family
  // inet_pton reads a C string: a NUL inside would hide what follows it.
  return host.find('\0') == std::string::npos && (inet_pton(AF_INET, host.c_str(), &parsed) == 1 ||
                                                  inet_pton(AF_INET6, host.c_str(), &parsed) == 1);
}

template <typename Sockets>
bool take_sockets(const Sockets& from, std::vector<SocketAddress>& to) {
  if (from.size() > static_cast<int>(EngineAddress::kMaxSockets)) return false;
  for (const wire::Socket& socket : from) {
    if (socket.port() == 0 || socket.port() > 0xffff || !numeric_host(socket.host())) return false;
    to.push_back({socket.host(), static_cast<std::uint16_t>(socket.port())});
  }
  return true;
}

template <typename Sockets>
void put_sockets(const std::vector<SocketAddress>& from, Sockets* to) {
  for (const SocketAddress& socket : from) {
    wire::Socket& added = *to->Add();
    added.set_host(socket.host);
    added.set_port(socket.port);
  }
}

std::string read_host() {
  std::string boot;
  std::ifstream("/proc/sys/kernel/random/boot_id") >> boot;
  // Without a boot id nobody is known to share this kernel, so only this very process matches.
  if (boot.empty()) boot = EngineId::random().to_string();
  return boot + "/" + std::to_string(geteuid());
}

}  // namespace

std::string EngineAddress::serialize() const {
  wire::Address address;
  address.set_engine_high(engine.high);
  address.set_engine_low(engine.low);
  address.set_node(node);
  address.set_host(host);
  address.set_shm_socket(shm_socket);
  put_sockets(tcp, address.mutable_tcp());
  put_sockets(ucx, address.mutable_ucx());
  put_sockets(verbs, address.mutable_verbs());
  std::string blob(kMagic);
  address.AppendToString(&blob);
  return blob;
}

Result<EngineAddress> EngineAddress::parse(std::string_view blob) {
  if (blob.size() > kMaxBlob) {
    return fail(Errc::protocol_error, "an engine's address has at most " +
                                          std::to_string(kMaxBlob) + " bytes, this one " +
                                          std::to_string(blob.size()));
  }
  if (!blob.starts_with(kMagic)) {
    return fail(Errc::protocol_error, "not an engine's address, or one of an unknown format");
  }
  blob.remove_prefix(kMagic.size());
  wire::Address wire;
  if (!wire.ParseFromArray(blob.data(), static_cast<int>(blob.size()))) {
    return fail(Errc::protocol_error, "an engine's address is damaged");
  }
  EngineAddress address;
  address.engine = {wire.engine_high(), wire.engine_low()};
  address.node = wire.node();
  address.host = wire.host();
  address.shm_socket = wire.shm_socket();
  if (address.engine == EngineId{}) {
    return fail(Errc::protocol_error, "an engine's address names no engine");
  }
  if (!valid_node_name(address.node) || address.host.size() > 255 ||
      has_control_character(address.host)) {
    return fail(
        Errc::protocol_error,
        "the names in an engine's address have at most 255 bytes and no control characters");
  }
  const std::string& path = address.shm_socket;
  if (path.size() > kMaxSocketPath || has_control_character(path) ||
      (!path.empty() && path.front() != '/')) {
    return fail(Errc::protocol_error, "the socket in an engine's address is no absolute path");
  }
  if (!take_sockets(wire.tcp(), address.tcp) || !take_sockets(wire.ucx(), address.ucx) ||
      !take_sockets(wire.verbs(), address.verbs)) {
    return fail(Errc::protocol_error,
                "an engine's address has a socket that is no numeric host and port, or too many");
  }
  return address;
}

const std::string& this_host() {
  static const std::string host = read_host();
  return host;
}

}  // namespace godwit::fabric
