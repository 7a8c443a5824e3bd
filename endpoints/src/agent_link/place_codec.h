// EndpointPlace to and from the agent's messages. Pure functions; any thread.
#pragma once

#include "godwit/endpoints/agent.pb.h"
#include "godwit/resolver.h"

namespace godwit::agent_link {

EndpointPlace to_place(const endpoints::proto::Place& message);
void to_message(const EndpointPlace& place, endpoints::proto::Place& message);
Error to_error(const endpoints::proto::Failure& failure);

}  // namespace godwit::agent_link
