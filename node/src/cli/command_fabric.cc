// godwit fabric
#include <algorithm>
#include <map>
#include <memory>

#include "admin_client.h"
#include "cli/command.h"
#include "cli/fabric_probe.h"
#include "cli/units.h"
#include "godwit/endpoint_id.h"
#include "godwit/fabric/frame.h"
#include "godwit/fabric/inventory.h"

namespace godwit::node::cli {
namespace {

using endpoints::proto::EndpointInfo;

std::string joined(const std::vector<std::string>& parts, std::string_view none = "-") {
  std::string text;
  for (const std::string& part : parts) text += (text.empty() ? "" : ",") + part;
  return text.empty() ? std::string(none) : text;
}

std::string text_of(fabric::TransportKind kind) {
  return std::string(fabric::to_string(kind));
}

// --- this machine --------------------------------------------------------------------------------

Json json_of(const fabric::RdmaDevice& device) {
  Json ports = Json::array();
  for (const fabric::RdmaPort& port : device.ports) {
    Json gids = Json::array();
    for (const fabric::RdmaGid& gid : port.gids) {
      gids.push_back({{"index", gid.index},
                      {"gid", gid.gid},
                      {"type", gid.type.empty() ? Json() : Json(gid.type)},
                      {"interface", gid.interface.empty() ? Json() : Json(gid.interface)}});
    }
    ports.push_back({{"port", port.number},
                     {"state", port.state},
                     {"link_layer", port.link_layer},
                     {"mtu_bytes", port.mtu ? Json(*port.mtu) : Json()},
                     {"gids", gids}});
  }
  return {{"name", device.name},
          {"problem", device.problem.empty() ? Json() : Json(device.problem)},
          {"ports", ports}};
}

Json json_of(const fabric::NetworkInterface& interface) {
  return {{"name", interface.name},
          {"up", interface.up},
          {"mtu_bytes", interface.mtu},
          {"addresses", interface.addresses},
          {"rdma_device", interface.rdma_device.empty() ? Json() : Json(interface.rdma_device)}};
}

Json json_of(const std::vector<Offer>& offers) {
  Json document = Json::array();
  for (const Offer& offer : offers) {
    document.push_back(
        {{"transport", text_of(offer.kind)},
         {"offered", !offer.problem},
         {"why_not", offer.problem ? Json(offer.problem->to_string()) : Json()},
         {"by_default", offer.by_default},
         {"between", offer.kind == fabric::TransportKind::shm ? "processes" : "nodes"},
         {"hosts", offer.hosts},
         {"note", offer.note}});
  }
  return document;
}

void print_devices(const fabric::Inventory& inventory) {
  if (inventory.devices.empty()) {
    print("RDMA devices: none\n");
    return;
  }
  Table table({{"DEVICE"}, {"PORT"}, {"STATE"}, {"LINK"}, {"MTU"}, {"GIDS"}});
  for (const fabric::RdmaDevice& device : inventory.devices) {
    for (const fabric::RdmaPort& port : device.ports) {
      std::vector<std::string> gids;
      for (const fabric::RdmaGid& gid : port.gids) {
        gids.push_back(std::to_string(gid.index) + ":" + gid.gid +
                       (gid.type.empty() ? "" : " (" + gid.type + ")"));
      }
      table.add({device.name, std::to_string(port.number), port.state, port.link_layer,
                 port.mtu ? std::to_string(*port.mtu) : "?", joined(gids)});
    }
    if (device.ports.empty()) table.add({device.name, "-", "-", "-", "-", "-"});
  }
  print(table.text());
  for (const fabric::RdmaDevice& device : inventory.devices) {
    if (!device.problem.empty()) print(device.name + ": " + device.problem + "\n");
  }
}

void print_interfaces(const fabric::Inventory& inventory) {
  Table table(
      {{"INTERFACE"}, {"STATE"}, {"MTU", Table::Align::right}, {"RDMA DEVICE"}, {"ADDRESSES"}});
  for (const fabric::NetworkInterface& interface : inventory.interfaces) {
    table.add({interface.name, interface.up ? "up" : "down", std::to_string(interface.mtu),
               interface.rdma_device.empty() ? "-" : interface.rdma_device,
               joined(interface.addresses)});
  }
  print(table.text());
}

void print_offers(const std::vector<Offer>& offers) {
  Table table({{"TRANSPORT"}, {"OFFERED"}, {"BETWEEN"}, {"AT"}, {"WHY"}});
  for (const Offer& offer : offers) {
    const bool shm = offer.kind == fabric::TransportKind::shm;
    const char* offered = offer.problem ? "no" : offer.by_default ? "yes" : "on request";
    table.add({text_of(offer.kind), offered, shm ? "processes of a node" : "nodes",
               joined(offer.hosts), offer.problem ? offer.problem->to_string() : offer.note});
  }
  print(table.text());
}

Result<void> show_machine(const Context& context) {
  // Without an agent there is no telling where engines will listen; the rest is the same.
  std::string node, host;
  if (auto agent = AdminClient::connect(context.run)) {
    node = agent->hello().node();
    host = agent->hello().listen_host();
  } else if (!context.run.empty()) {
    return tl::make_unexpected(agent.error());
  }
  const auto offers = probe_transports(host);
  if (!offers) return tl::make_unexpected(offers.error());
  const fabric::Inventory inventory = fabric::take_inventory();
  const auto& locked = inventory.locked_memory;
  if (context.json) {
    Json devices = Json::array(), interfaces = Json::array();
    for (const auto& device : inventory.devices) devices.push_back(json_of(device));
    for (const auto& interface : inventory.interfaces) interfaces.push_back(json_of(interface));
    print_json(
        {{"node", node.empty() ? Json() : Json(node)},
         {"listen_host", host.empty() ? Json() : Json(host)},
         {"transports", json_of(*offers)},
         {"devices", devices},
         {"interfaces", interfaces},
         {"built_with", {{"verbs", inventory.built_with_verbs}, {"ucx", inventory.built_with_ucx}}},
         {"max_message_bytes", fabric::kMaxPayload},
         {"locked_memory_limit_bytes", locked ? Json(*locked) : Json()}});
    return {};
  }
  print_offers(*offers);
  print("\n");
  print_devices(inventory);
  print("\n");
  print_interfaces(inventory);
  print("\n");
  print("engines listen   " +
        (host.empty() ? "unknown: no agent runs here"
                      : host + ", as the agent of " + printable(node) + " says") +
        "\n");
  print("largest message  " + human_bytes(fabric::kMaxPayload) + "\n");
  print("locked memory    " +
        (locked ? human_bytes(static_cast<double>(*locked)) + " at most" : "no limit") + "\n");
  return {};
}

// --- towards a node ------------------------------------------------------------------------------

// An engine there, as its endpoints' records show it.
struct RemoteEngine {
  fabric::EngineAddress address;
  std::uint64_t process = 0;
  std::vector<std::string> endpoints;  // named ones; the others are counted
  std::size_t count = 0;
};

Result<std::vector<RemoteEngine>> engines_of(AdminClient& agent, const std::string& node) {
  const auto nodes = agent.list_nodes();
  if (!nodes) return tl::make_unexpected(nodes.error());
  const auto known = std::find_if(nodes->begin(), nodes->end(),
                                  [&](const auto& each) { return each.name() == node; });
  if (known == nodes->end())
    return fail(Errc::not_found, "there is no such node: 'godwit node ls' lists them", node);
  if (!known->alive())
    return fail(Errc::not_found, "the node is gone: its agent does not run any more", node);
  endpoints::proto::ListEndpointsRequest request;
  request.set_node(node);
  std::map<std::string, RemoteEngine> engines;  // by address
  auto listed = agent.list_endpoints(request, [&](const EndpointInfo& info) {
    const std::string& blob = info.place().engine_address();
    auto at = engines.find(blob);
    if (at == engines.end()) {
      auto address = fabric::EngineAddress::parse(blob);
      if (!address) return true;
      at = engines.emplace(blob, RemoteEngine{std::move(*address), info.place().process(), {}, 0})
               .first;
    }
    ++at->second.count;
    if (!info.place().name().empty()) at->second.endpoints.push_back(info.place().name());
    return true;
  });
  if (!listed) return tl::make_unexpected(listed.error());
  if (engines.empty()) {
    return fail(Errc::not_found,
                "no endpoint is bound on this node, and only engines tell which transports they "
                "offer: bind one there ('godwit echo DC/NAME') and ask again",
                node);
  }
  std::vector<RemoteEngine> result;
  for (auto& [blob, engine] : engines) result.push_back(std::move(engine));
  return result;
}

std::string names_of(const RemoteEngine& engine) {
  constexpr std::size_t kShown = 3;
  std::vector<std::string> shown(engine.endpoints.begin(),
                                 engine.endpoints.begin() + static_cast<std::ptrdiff_t>(std::min(
                                                                kShown, engine.endpoints.size())));
  const std::size_t more = engine.count - shown.size();
  if (more != 0)
    shown.push_back((shown.empty() ? "" : "+") + std::to_string(more) +
                    (shown.empty() ? " without a name" : " more"));
  return joined(shown);
}

Result<void> show_towards(const Context& context, const std::string& node) {
  auto agent = AdminClient::connect(context.run);
  if (!agent) return tl::make_unexpected(agent.error());
  const auto engines = engines_of(*agent, node);
  if (!engines) return tl::make_unexpected(engines.error());
  const auto offers = probe_transports(agent->hello().listen_host());
  if (!offers) return tl::make_unexpected(offers.error());
  Json document = Json::array();
  Table table({{"PROCESS"}, {"ENDPOINTS"}, {"CHOSEN"}, {"TRANSPORT"}, {"WHY NOT"}});
  for (const RemoteEngine& engine : *engines) {
    const auto ways = ways_to(engine.address, agent->hello().node(), *offers);
    const auto best = chosen(ways);
    Json transports = Json::array();
    bool first = true;
    for (const Way& way : ways) {
      const bool is_best = best == way.kind;
      std::string why = way.why_not;
      if (why.empty() && !is_best) {
        why = way.by_default ? "works; " + text_of(*best) + " is better" : "works; only on request";
      }
      transports.push_back({{"transport", text_of(way.kind)},
                            {"works", way.why_not.empty()},
                            {"chosen", is_best},
                            {"why_not", why.empty() ? Json() : Json(why)}});
      table.add({first ? hex_number(engine.process) : "", first ? names_of(engine) : "",
                 is_best ? "yes" : "", text_of(way.kind), why});
      first = false;
    }
    document.push_back({{"process", hex_number(engine.process)},
                        {"endpoints", engine.endpoints},
                        {"endpoint_count", engine.count},
                        {"chosen", best ? Json(text_of(*best)) : Json()},
                        {"transports", transports}});
  }
  if (context.json) {
    print_json({{"node", agent->hello().node()}, {"towards", node}, {"engines", document}});
  } else {
    print(table.text());
  }
  return {};
}

}  // namespace

void add_fabric_command(CLI::App& app, Context& context) {
  const auto node = std::make_shared<std::string>();
  CLI::App* command = add_command(
      app, context,
      {.name = "fabric",
       .summary = "Show devices and transports, and what is chosen towards a node",
       .details =
           "Without NODE: the transports that this build and machine offer, best first, or why "
           "not; "
           "RDMA devices and\nnetwork interfaces; the limit of locked memory. Each transport is "
           "opened as an engine would open it; no\nagent is needed, but it knows where engines "
           "listen. With NODE: for each engine that serves endpoints there,\nwhich transport a "
           "process of this node would dial first and why not the others. Nothing is connected "
           "to.",
       .examples = "  godwit fabric\n"
                   "  godwit fabric beta\n"
                   "  godwit fabric beta --json | jq '.engines[].chosen'"},
      [&context, node] {
        return node->empty() ? show_machine(context) : show_towards(context, *node);
      });
  command->add_option("node", *node, "The other node, as 'godwit node ls' names it")
      ->type_name("NODE")
      ->check(
          checked_by([](const std::string& text) { return check_name("a node's name", text); }));
}

}  // namespace godwit::node::cli
