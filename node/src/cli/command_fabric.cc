// godwit fabric
#include <stdlib.h>
#include <sys/resource.h>

#include <array>
#include <filesystem>
#include <memory>
#include <system_error>

#include "cli/command.h"
#include "cli/units.h"
#include "godwit/fabric/fabric.h"
#include "godwit/fabric/rdma_hosts.h"

namespace godwit::node::cli {
namespace {

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

struct Offer {
  fabric::TransportKind kind;
  std::optional<Error> problem;
  std::string address;
};

std::string sockets(const std::vector<fabric::SocketAddress>& addresses) {
  std::string text;
  for (const fabric::SocketAddress& address : addresses)
    text += (text.empty() ? "" : ",") + address.host;
  return text;
}

// Opens the transport as an engine would: what does not fail here works there.
Offer probe(fabric::TransportKind kind, const std::string& folder) {
  Offer offer{kind, {}, {}};
  NoEvents events;
  fabric::FabricOptions options;
  options.identity = {fabric::EngineId::random(), "probe",
                      [](std::uint32_t) { return std::optional<fabric::DcKey>(); }};
  options.runtime_directory = folder;
  options.transports = {kind};
  if (kind == fabric::TransportKind::verbs) {
    // The address chooses the device; an agent's listen_host need not be known for that.
    const auto hosts = fabric::rdma_hosts();
    if (!hosts.empty()) options.listen_host = hosts.front();
  }
  options.force = kind;
  options.arena_capacity = std::size_t{1} << 20;
  const auto fabric = fabric::Fabric::create(std::move(options), events);
  if (!fabric) {
    offer.problem = fabric.error();
    return offer;
  }
  const fabric::EngineAddress& address = (*fabric)->address();
  if (kind == fabric::TransportKind::tcp) offer.address = sockets(address.tcp);
  if (kind == fabric::TransportKind::verbs) offer.address = sockets(address.verbs);
  if (kind == fabric::TransportKind::ucx) offer.address = sockets(address.ucx);
  return offer;
}

Result<void> show_fabric(const Context& context) {
  auto folder = PrivateFolder::create();
  if (!folder) return tl::make_unexpected(folder.error());
  rlimit locked{};
  if (::getrlimit(RLIMIT_MEMLOCK, &locked) != 0) return fail_errno("cannot read a limit");
  const bool unlimited = locked.rlim_cur == RLIM_INFINITY;

  using Kind = fabric::TransportKind;
  Json document = Json::array();
  Table table({{"TRANSPORT"}, {"OFFERED"}, {"BETWEEN"}, {"WHY NOT"}});
  for (const Kind kind : {Kind::shm, Kind::verbs, Kind::ucx, Kind::tcp}) {
    const Offer offer = probe(kind, (*folder)->path());
    const bool offered = !offer.problem;
    const std::string between = kind == Kind::shm ? "processes of a node" : "nodes";
    const std::string why = offered ? "" : offer.problem->to_string();
    if (context.json) {
      document.push_back({{"transport", fabric::to_string(kind)},
                          {"offered", offered},
                          {"why_not", offered ? Json() : Json(why)}});
    } else {
      table.add({std::string(fabric::to_string(kind)), offered ? "yes" : "no", between, why});
    }
  }
  if (context.json) {
    print_json({{"transports", document},
                {"max_message_bytes", fabric::kMaxPayload},
                {"locked_memory_limit_bytes", unlimited ? Json() : Json(locked.rlim_cur)}});
    return {};
  }
  print(table.text());
  print("largest message  " + human_bytes(fabric::kMaxPayload) + "\n");
  print("locked memory    " +
        (unlimited ? "no limit" : human_bytes(static_cast<double>(locked.rlim_cur)) + " at most") +
        "\n");
  return {};
}

}  // namespace

void add_fabric_command(CLI::App& app, Context& context) {
  add_command(app, context,
              {.name = "fabric",
               .summary = "Show the transports that this build and this machine offer",
               .details = "Each is opened as an engine would open it; no agent is needed.",
               .examples = "  godwit fabric\n  godwit fabric --json"},
              [&context] { return show_fabric(context); });
}

}  // namespace godwit::node::cli
