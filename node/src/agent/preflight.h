// Preflight: why an endpoint cannot move to a node, found before anything is written. Pure
// functions over what was read; each refusal is a sentence that says what to do.
#pragma once

#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "agent/known_endpoint.h"
#include "godwit/error.h"

namespace godwit::node {

/// What a node's record says of a program that it can start or that stands by: "program:kv".
std::string program_capability(const std::string& program);

/// The nodes of the cluster as they were read.
struct NodeSurvey {
  std::vector<coord::proto::NodeRecord> alive;
  std::set<std::string> vanished;  // seen before, and gone

  const coord::proto::NodeRecord* find(const std::string& name) const;
};

bool has_program(const coord::proto::NodeRecord& node, const std::string& program);
bool allows(const coord::proto::DcRecord& dc, const std::string& node);

/// Why an endpoint can never move, as it was bound.
inline constexpr std::string_view kCannotMove =
    "the program did not say how it can move: it must serve the endpoint with a State and name its "
    "program";

/// Whether the endpoint can move at all now.
Result<void> check_movable(const KnownEndpoint& endpoint);
/// Whether that node can take what is movable.
Result<void> check_target(const KnownEndpoint& endpoint, const coord::proto::DcRecord& dc,
                          const NodeSurvey& nodes, const std::string& target);
/// Whether a node, for a drain, is one that lives.
Result<void> check_alive(const NodeSurvey& nodes, const std::string& name);

/// Whether two endpoints are served together: by one thread of one process, as one program.
bool same_group(const coord::proto::EndpointRecord& a, const coord::proto::EndpointRecord& b);

}  // namespace godwit::node
