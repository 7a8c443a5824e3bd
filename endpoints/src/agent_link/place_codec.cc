#include "agent_link/place_codec.h"

namespace godwit::agent_link {

EndpointPlace to_place(const endpoints::proto::Place& message) {
  EndpointPlace place;
  place.id = EndpointId{message.dc(), message.slot(), message.generation()};
  place.name = message.name();
  place.lineage = message.lineage();
  place.epoch = message.epoch();
  // A state that a newer agent invented: the endpoint is somewhere, so it is not given up.
  place.state = message.state() >= 1 && message.state() <= 4
                    ? static_cast<EndpointState>(message.state())
                    : EndpointState::serving;
  place.node = message.node();
  place.process = message.process();
  place.engine_address = message.engine_address();
  return place;
}

void to_message(const EndpointPlace& place, endpoints::proto::Place& message) {
  message.set_dc(place.id.dc);
  message.set_slot(place.id.slot);
  message.set_generation(place.id.generation);
  message.set_name(place.name);
  message.set_lineage(place.lineage);
  message.set_epoch(place.epoch);
  message.set_state(static_cast<std::uint32_t>(place.state));
  message.set_node(place.node);
  message.set_process(place.process);
  message.set_engine_address(place.engine_address);
}

Error to_error(const endpoints::proto::Failure& failure) {
  // A code that a newer agent invented has no meaning here but "it did not work".
  const bool known = failure.code() >= 1 && failure.code() <= static_cast<unsigned>(Errc::moved);
  return Error{known ? static_cast<Errc>(failure.code()) : Errc::system, failure.message(),
               failure.endpoint()};
}

}  // namespace godwit::agent_link
