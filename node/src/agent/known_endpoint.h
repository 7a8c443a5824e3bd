// KnownEndpoint: an endpoint's record together with the name of its DC, and as a process is told of
// it. Values, shared and never changed; any thread.
#pragma once

#include <memory>
#include <string>

#include "godwit/coord/directory.pb.h"
#include "godwit/endpoints/agent.pb.h"
#include "godwit/resolver.h"

namespace godwit::node {

struct KnownEndpoint {
  std::string dc;
  coord::proto::EndpointRecord record;

  EndpointId id() const { return {record.dc(), record.slot(), record.generation()}; }
  bool alive() const {
    return record.state() == coord::proto::SERVING || record.state() == coord::proto::MOVING;
  }
  /// "demo/echo"; empty if anonymous.
  std::string full_name() const { return record.name().empty() ? "" : dc + "/" + record.name(); }
  /// For messages about it.
  std::string label() const;
  endpoints::proto::Place place() const;
  /// The same in another state.
  std::shared_ptr<const KnownEndpoint> with_state(coord::proto::EndpointState state) const;
};
using Known = std::shared_ptr<const KnownEndpoint>;

Known make_known(std::string dc, coord::proto::EndpointRecord record);
EndpointId id_of(const endpoints::proto::Place& place);

}  // namespace godwit::node
