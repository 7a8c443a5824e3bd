// godwit ls, godwit ps
#include <pwd.h>

#include <algorithm>
#include <map>
#include <memory>

#include "admin_client.h"
#include "cli/command.h"
#include "cli/counters_file.h"
#include "cli/units.h"
#include "godwit/endpoint_id.h"
#include "godwit/fabric/address.h"
#include "godwit/resolver.h"

namespace godwit::node::cli {
namespace {

using endpoints::proto::EndpointInfo;
using endpoints::proto::ProcessEntry;

// What this node's processes use, by process. A process without readable counters is missing.
std::map<std::uint64_t, ProcessCounters> counters_of_node(const AdminClient& agent) {
  std::map<std::uint64_t, ProcessCounters> result;
  std::vector<Error> problems;
  const auto all = read_all_counters(agent.hello().runtime_directory(), problems);
  if (all)
    for (const ProcessCounters& process : *all) result.emplace(process.process, process);
  for (const Error& problem : problems) remark(problem.to_string());
  return result;
}

// The transports that an engine offers to peers, by its address.
std::vector<std::string> offers(const std::string& engine_address) {
  std::vector<std::string> result;
  const auto address = fabric::EngineAddress::parse(engine_address);
  if (!address) return result;
  if (!address->shm_socket.empty()) result.emplace_back("shm");
  if (!address->verbs.empty()) result.emplace_back("verbs");
  if (!address->ucx.empty()) result.emplace_back("ucx");
  if (!address->tcp.empty()) result.emplace_back("tcp");
  return result;
}

std::string joined(const std::vector<std::string>& parts) {
  std::string text;
  for (const std::string& part : parts) text += (text.empty() ? "" : ",") + part;
  return text.empty() ? "-" : text;
}

struct ListOptions {
  std::string dc;
  std::string prefix;
  std::string node;
  bool all = false;
};

Result<void> list_endpoints(const Context& context, const ListOptions& options) {
  auto agent = AdminClient::connect(context.run);
  if (!agent) return tl::make_unexpected(agent.error());
  if (!options.dc.empty()) {
    // An empty list and a misspelt DC must not look alike.
    const auto dcs = agent->list_dcs();
    if (!dcs) return tl::make_unexpected(dcs.error());
    const bool known = std::any_of(dcs->begin(), dcs->end(),
                                   [&](const auto& dc) { return dc.name() == options.dc; });
    if (!known) return fail(Errc::not_found, "there is no such DC", options.dc);
  }
  const auto counters = counters_of_node(*agent);
  const std::string here = agent->hello().node();

  endpoints::proto::ListEndpointsRequest request;
  request.set_dc(options.dc);
  request.set_name_prefix(options.prefix);
  request.set_node(options.node);
  request.set_include_gone(options.all);
  Json document = Json::array();
  Table table({{"NAME"},
               {"ID"},
               {"NODE"},
               {"STATE"},
               {"PID", Table::Align::right},
               {"PROCESS"},
               {"OFFERS"},
               {"IN USE"}});
  const auto each = [&](const EndpointInfo& info) {
    const auto& place = info.place();
    const EndpointId id{place.dc(), place.slot(), place.generation()};
    const auto state = static_cast<EndpointState>(place.state());
    const auto used = counters.find(place.process());
    const bool known = place.node() == here && used != counters.end();
    if (context.json) {
      document.push_back({{"name", place.name()},
                          {"dc", info.dc_name()},
                          {"id", id.to_string()},
                          {"state", to_string(state)},
                          {"node", place.node()},
                          {"process", hex_number(place.process())},
                          {"pid", info.pid()},
                          {"epoch", place.epoch()},
                          {"lineage", hex_number(place.lineage())},
                          {"offers", offers(place.engine_address())}});
      Json in_use;  // null: the counters of another node's process are not known here
      if (known) {
        in_use = Json::array();
        for (const fabric::TransportKind kind : kCountedTransports)
          if (used->second.totals.get(kind, &EngineCounters::PerTransport::connections) > 0)
            in_use.push_back(fabric::to_string(kind));
      }
      document.back()["in_use"] = in_use;
    } else {
      const std::string in_use = known ? used->second.transports() : "?";
      table.add({place.name().empty() ? info.dc_name() + "/ (anonymous)" : place.name(),
                 id.to_string(), place.node(), std::string(to_string(state)),
                 std::to_string(info.pid()), hex_number(place.process()),
                 joined(offers(place.engine_address())), in_use.empty() ? "-" : in_use});
    }
    return true;
  };
  if (auto listed = agent->list_endpoints(request, each); !listed)
    return tl::make_unexpected(listed.error());
  if (context.json) {
    print_json({{"endpoints", document}});
  } else {
    print(table.text());
  }
  return {};
}

std::string user_name(std::uint32_t uid) {
  char buffer[4096];
  passwd entry{};
  passwd* found = nullptr;
  if (::getpwuid_r(uid, &entry, buffer, sizeof buffer, &found) == 0 && found != nullptr)
    return found->pw_name;
  return std::to_string(uid);
}

Result<void> list_processes(const Context& context) {
  auto agent = AdminClient::connect(context.run);
  if (!agent) return tl::make_unexpected(agent.error());
  const auto processes = agent->list_processes();
  if (!processes) return tl::make_unexpected(processes.error());
  const auto counters = counters_of_node(*agent);
  Json document = Json::array();
  using Align = Table::Align;
  Table table({{"PID", Align::right},
               {"PROGRAM"},
               {"PROCESS"},
               {"USER"},
               {"STATE"},
               {"ATTACHED", Align::right},
               {"ENDPOINTS", Align::right},
               {"ENGINES", Align::right},
               {"CHANNELS", Align::right},
               {"IN USE"}});
  for (const ProcessEntry& process : *processes) {
    const auto found = counters.find(process.process());
    const ProcessCounters* known = found == counters.end() ? nullptr : &found->second;
    if (context.json) {
      Json entry = {{"process", hex_number(process.process())},
                    {"pid", process.pid()},
                    {"uid", process.uid()},
                    {"program", process.program()},
                    {"connected", process.connected()},
                    {"attached_unix_ms", process.attached_unix_ms()},
                    {"endpoints", process.endpoints()}};
      entry["engines"] = known == nullptr ? Json() : Json(known->engines.size());
      entry["channels"] =
          known == nullptr ? Json() : Json(known->totals.get(&EngineCounters::channels));
      document.push_back(entry);
      continue;
    }
    const std::string in_use = known == nullptr ? "?" : known->transports();
    table.add(
        {std::to_string(process.pid()), process.program(), hex_number(process.process()),
         user_name(process.uid()), process.connected() ? "attached" : "lost",
         age_since(process.attached_unix_ms()), std::to_string(process.endpoints()),
         known == nullptr ? "?" : std::to_string(known->engines.size()),
         known == nullptr ? "?" : std::to_string(known->totals.get(&EngineCounters::channels)),
         in_use.empty() ? "-" : in_use});
  }
  if (context.json) {
    print_json({{"node", agent->hello().node()}, {"processes", document}});
  } else {
    print(table.text());
  }
  return {};
}

}  // namespace

void add_list_commands(CLI::App& app, Context& context) {
  const auto options = std::make_shared<ListOptions>();
  CLI::App* command = add_command(
      app, context,
      {.name = "ls",
       .summary = "List endpoints: name, place, state, transports",
       .details =
           "OFFERS are the transports by which the endpoint can be reached. IN USE are those "
           "that have a\nconnection to its process now, from the process's counters; '?' for "
           "processes of other nodes.",
       .examples = "  godwit ls\n"
                   "  godwit ls demo --prefix demo/web\n"
                   "  godwit ls --all --json"},
      [&context, options] { return list_endpoints(context, *options); });
  add_dc_name(command, "dc", options->dc, "Only this DC (default: all)");
  command->add_option("--prefix", options->prefix, "Only full names that begin so")
      ->type_name("TEXT");
  command->add_option("--node", options->node, "Only endpoints on this node")->type_name("NODE");
  command->add_flag("--all", options->all, "Also endpoints that were unbound or died");

  add_command(app, context,
              {.name = "ps",
               .summary = "List the processes attached to this node's agent",
               .details = "STATE 'lost': the connection to the agent broke, the process may come "
                          "back. IN USE: transports\nwith a connection now.",
               .examples = "  godwit ps\n  godwit ps --json"},
              [&context] { return list_processes(context); });
}

}  // namespace godwit::node::cli
