// godwit node ls
#include "admin_client.h"
#include "cli/command.h"
#include "cli/units.h"

namespace godwit::node::cli {
namespace {

using endpoints::proto::NodeInfo;

Json json_of_node(const NodeInfo& node) {
  return {{"name", node.name()},
          {"alive", node.alive()},
          {"self", node.self()},
          {"address", node.address()},
          {"host", node.host()},
          {"pid", node.pid()},
          {"incarnation", hex_number(node.incarnation())},
          {"started_unix_ms", node.started_unix_ms()},
          {"capabilities",
           std::vector<std::string>(node.capabilities().begin(), node.capabilities().end())},
          {"processes", node.processes()},
          {"endpoints", node.endpoints()},
          {"cpu_busy", node.cpu_busy()},
          {"memory_free_bytes", node.memory_free_bytes()}};
}

Result<void> list_nodes(const Context& context) {
  auto agent = AdminClient::connect(context.run);
  if (!agent) return tl::make_unexpected(agent.error());
  const auto nodes = agent->list_nodes();
  if (!nodes) return tl::make_unexpected(nodes.error());
  if (context.json) {
    Json document = Json::array();
    for (const NodeInfo& node : *nodes) document.push_back(json_of_node(node));
    print_json({{"nodes", document}});
    return {};
  }
  using Align = Table::Align;
  Table table({{"NODE"},
               {"STATE"},
               {"ADDRESS"},
               {"UP", Align::right},
               {"PROCESSES", Align::right},
               {"ENDPOINTS", Align::right},
               {"CPU", Align::right},
               {"FREE MEMORY", Align::right},
               {"CAPABILITIES"}});
  for (const NodeInfo& node : *nodes) {
    std::string capabilities;
    for (const std::string& capability : node.capabilities())
      capabilities += (capabilities.empty() ? "" : ",") + capability;
    table.add({node.name() + (node.self() ? " (this)" : ""), node.alive() ? "alive" : "gone",
               node.address(), node.alive() ? age_since(node.started_unix_ms()) : "-",
               std::to_string(node.processes()), std::to_string(node.endpoints()),
               std::to_string(static_cast<int>(node.cpu_busy() * 100 + 0.5F)) + " %",
               human_bytes(static_cast<double>(node.memory_free_bytes())), capabilities});
  }
  print(table.text());
  return {};
}

}  // namespace

void add_node_commands(CLI::App& app, Context& context) {
  CLI::App* group = add_group(app, "node", "Nodes of the cluster");
  add_command(
      *group, context,
      {.name = "ls",
       .summary = "List the nodes that the directory knows",
       .details = "STATE is 'gone' for a node whose record vanished since this agent saw it.",
       .examples = "  godwit node ls\n"
                   "  godwit node ls --json | jq -r '.nodes[] | select(.alive).name'"},
      [&context] { return list_nodes(context); });
}

}  // namespace godwit::node::cli
