#include "agent/known_endpoint.h"

#include <utility>

namespace godwit::node {

static_assert(static_cast<int>(EndpointState::serving) == coord::proto::SERVING &&
              static_cast<int>(EndpointState::moving) == coord::proto::MOVING &&
              static_cast<int>(EndpointState::unbound) == coord::proto::UNBOUND &&
              static_cast<int>(EndpointState::dead) == coord::proto::DEAD);

std::string KnownEndpoint::label() const {
  if (!record.name().empty()) return full_name();
  return std::to_string(record.dc()) + ":" + std::to_string(record.slot()) + "." +
         std::to_string(record.generation());
}

endpoints::proto::Place KnownEndpoint::place() const {
  endpoints::proto::Place place;
  place.set_dc(record.dc());
  place.set_slot(record.slot());
  place.set_generation(record.generation());
  place.set_name(full_name());
  place.set_lineage(record.lineage());
  place.set_epoch(record.epoch());
  place.set_state(static_cast<std::uint32_t>(record.state()));
  place.set_node(record.owner().node());
  place.set_process(record.owner().process());
  place.set_engine_address(record.engine_address());
  return place;
}

Known KnownEndpoint::with_state(coord::proto::EndpointState state) const {
  auto copy = std::make_shared<KnownEndpoint>(*this);
  copy->record.set_state(state);
  return copy;
}

Known make_known(std::string dc, coord::proto::EndpointRecord record) {
  return std::make_shared<const KnownEndpoint>(KnownEndpoint{std::move(dc), std::move(record)});
}

EndpointId id_of(const endpoints::proto::Place& place) {
  return {place.dc(), place.slot(), place.generation()};
}

}  // namespace godwit::node
