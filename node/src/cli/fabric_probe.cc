#include "cli/fabric_probe.h"

#include <stdlib.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <system_error>
#include <utility>

#include "godwit/fabric/fabric.h"
#include "godwit/fabric/rdma_hosts.h"
#include "godwit/process.h"

namespace godwit::node::cli {
namespace {

using Kind = fabric::TransportKind;

// Answers none of the events: nobody is connected to.
class NoEvents final : public fabric::ConnectionEvents {
 public:
  void on_established(fabric::Connection&) override {}
  void on_frame(fabric::Connection&, const fabric::FrameHeader&, std::span<const std::byte>,
                fabric::Buffer) override {}
  fabric::Buffer place(fabric::Connection&, const fabric::FrameHeader&) override { return {}; }
  void on_writable(fabric::Connection&) override {}
  void on_closed(fabric::Connection&, const Error&) override {}
};

// A folder of our own for the Unix socket that shm opens.
class PrivateFolder {
 public:
  static Result<std::unique_ptr<PrivateFolder>> create() {
    std::error_code error;
    std::string path =
        (std::filesystem::temp_directory_path(error) / "godwit-fabric-XXXXXX").string();
    if (::mkdtemp(path.data()) == nullptr) return fail_errno("cannot make a folder like " + path);
    return std::unique_ptr<PrivateFolder>(new PrivateFolder(path));
  }
  ~PrivateFolder() {
    std::error_code error;  // a leftover empty folder is all that can come of it
    std::filesystem::remove_all(path_, error);
  }
  PrivateFolder(const PrivateFolder&) = delete;
  PrivateFolder& operator=(const PrivateFolder&) = delete;
  const std::string& path() const { return path_; }

 private:
  explicit PrivateFolder(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

const std::vector<fabric::SocketAddress>* sockets_of(const fabric::EngineAddress& address,
                                                     Kind kind) {
  switch (kind) {
    case Kind::verbs:
      return &address.verbs;
    case Kind::ucx:
      return &address.ucx;
    case Kind::tcp:
      return &address.tcp;
    default:
      return nullptr;
  }
}

std::string note_of(Kind kind) {
  switch (kind) {
    case Kind::shm:
      return "no system call between two processes of a node";
    case Kind::verbs:
      return "past the kernel, from memory to memory; needs an RDMA device at both ends";
    case Kind::tcp:
      return "works wherever nodes reach each other";
    case Kind::ucx:
      return "only where a program or --transport asks for it";
    default:
      return {};
  }
}

// The library's own order, and behind it what must be asked for.
std::vector<std::pair<Kind, bool>> order() {
  std::vector<std::pair<Kind, bool>> kinds;
  for (const Kind kind : ProcessOptions().transports) kinds.emplace_back(kind, true);
  for (const Kind kind : {Kind::shm, Kind::verbs, Kind::tcp, Kind::ucx}) {
    const bool known = std::any_of(kinds.begin(), kinds.end(),
                                   [&](const auto& each) { return each.first == kind; });
    if (!known) kinds.emplace_back(kind, false);
  }
  return kinds;
}

// Opens the transport as an engine would: what does not fail here works there.
void probe(Offer& offer, const std::string& folder, const std::string& listen_host) {
  NoEvents events;
  fabric::FabricOptions options;
  options.identity = {fabric::EngineId::random(), "probe",
                      [](std::uint32_t) { return std::optional<fabric::DcKey>(); }};
  options.runtime_directory = folder;
  options.transports = {offer.kind};
  if (!listen_host.empty()) {
    options.listen_host = listen_host;
  } else if (offer.kind == Kind::verbs) {
    // The address chooses the device.
    const auto hosts = fabric::rdma_hosts();
    if (!hosts.empty()) options.listen_host = hosts.front();
  }
  options.force = offer.kind;
  options.arena_capacity = std::size_t{1} << 20;
  const auto fabric = fabric::Fabric::create(std::move(options), events);
  if (!fabric) {
    offer.problem = fabric.error();
    return;
  }
  if (const auto* sockets = sockets_of((*fabric)->address(), offer.kind)) {
    for (const fabric::SocketAddress& socket : *sockets) offer.hosts.push_back(socket.host);
  }
}

}  // namespace

Result<std::vector<Offer>> probe_transports(const std::string& listen_host) {
  auto folder = PrivateFolder::create();
  if (!folder) return tl::make_unexpected(folder.error());
  std::vector<Offer> offers;
  for (const auto& [kind, by_default] : order()) {
    Offer offer{kind, {}, {}, by_default, note_of(kind)};
    probe(offer, (*folder)->path(), listen_host);
    offers.push_back(std::move(offer));
  }
  return offers;
}

std::vector<Way> ways_to(const fabric::EngineAddress& peer, std::string_view here,
                         const std::vector<Offer>& offers) {
  std::vector<Way> ways;
  for (const Offer& offer : offers) {
    const bool shm = offer.kind == Kind::shm;
    const auto* sockets = sockets_of(peer, offer.kind);
    const bool offered = shm ? !peer.shm_socket.empty() : sockets != nullptr && !sockets->empty();
    std::string why;
    if (shm && peer.node != here) {
      why = "it is another node";
    } else if (!offered) {
      why = "the engine there does not offer it";
    } else if (shm && peer.host != fabric::this_host()) {
      why = "the engine runs under another kernel, user or namespace";
    } else if (offer.problem) {
      why = "not offered here: " + offer.problem->to_string();
    }
    ways.push_back({offer.kind, std::move(why), offer.by_default});
  }
  return ways;
}

std::optional<fabric::TransportKind> chosen(const std::vector<Way>& ways) {
  for (const Way& way : ways) {
    if (way.by_default && way.why_not.empty()) return way.kind;
  }
  return std::nullopt;
}

}  // namespace godwit::node::cli
