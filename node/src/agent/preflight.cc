#include "agent/preflight.h"

#include <algorithm>

#include "godwit/coord/moves.h"

namespace godwit::node {

namespace {

tl::unexpected<Error> refused(const KnownEndpoint& endpoint, std::string why,
                              Errc code = Errc::invalid_argument) {
  return fail(code, std::move(why), endpoint.label());
}

template <typename Strings>
std::string joined(const Strings& strings) {
  std::string text;
  for (const std::string& each : strings) text += (text.empty() ? "" : ", ") + each;
  return text;
}

}  // namespace

std::string program_capability(const std::string& program) {
  return "program:" + program;
}

const coord::proto::NodeRecord* NodeSurvey::find(const std::string& name) const {
  const auto found = std::find_if(alive.begin(), alive.end(),
                                  [&](const auto& node) { return node.name() == name; });
  return found == alive.end() ? nullptr : &*found;
}

bool has_program(const coord::proto::NodeRecord& node, const std::string& program) {
  const auto& all = node.capabilities();
  return std::find(all.begin(), all.end(), program_capability(program)) != all.end();
}

bool allows(const coord::proto::DcRecord& dc, const std::string& node) {
  const auto& nodes = dc.nodes();
  return nodes.empty() || std::find(nodes.begin(), nodes.end(), node) != nodes.end();
}

bool same_group(const coord::proto::EndpointRecord& a, const coord::proto::EndpointRecord& b) {
  return a.dc() == b.dc() && a.owner().node() == b.owner().node() &&
         a.owner().process() == b.owner().process() && a.program() == b.program() &&
         a.engine_address() == b.engine_address();
}

Result<void> check_movable(const KnownEndpoint& endpoint) {
  if (!endpoint.alive()) return refused(endpoint, "its owner is gone", Errc::not_found);
  if (endpoint.record.has_migration()) {
    return refused(
        endpoint,
        "a move of it is under way: " + coord::format_move_id(endpoint.record.migration().id()) +
            "; wait for its end, or give it up with 'godwit migrations --abort'");
  }
  if (endpoint.record.program().empty()) {
    return refused(endpoint, std::string(kCannotMove));
  }
  return {};
}

Result<void> check_alive(const NodeSurvey& nodes, const std::string& name) {
  if (nodes.find(name) != nullptr) return {};
  if (nodes.vanished.contains(name)) {
    return fail(Errc::invalid_argument,
                "node '" + name + "' is not alive: start its agent, or choose another node");
  }
  return fail(Errc::not_found,
              "there is no node '" + name + "': 'godwit node ls' shows those that there are");
}

Result<void> check_target(const KnownEndpoint& endpoint, const coord::proto::DcRecord& dc,
                          const NodeSurvey& nodes, const std::string& target) {
  if (auto alive = check_alive(nodes, target); !alive) return alive;
  if (endpoint.record.owner().node() == target) {
    return refused(endpoint, "it is on node '" + target + "' already");
  }
  if (!allows(dc, target)) {
    return refused(endpoint, "the DC '" + dc.name() + "' is not for node '" + target +
                                 "': its nodes are " + joined(dc.nodes()));
  }
  const std::string& program = endpoint.record.program();
  if (has_program(*nodes.find(target), program)) return {};
  std::set<std::string> others;
  for (const auto& node : nodes.alive) {
    if (has_program(node, program) && allows(dc, node.name()) &&
        node.name() != endpoint.record.owner().node()) {
      others.insert(node.name());
    }
  }
  const std::string advice = others.empty() ? "configure [programs." + program +
                                                  "] there, or start a process of it that stands by"
                                            : "nodes that have it: " + joined(others);
  return refused(endpoint,
                 "node '" + target + "' does not have the program '" + program + "': " + advice);
}

}  // namespace godwit::node
