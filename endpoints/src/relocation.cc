#include "godwit/relocation.h"

#include <cassert>

#include "engine/engine.h"

namespace godwit {

void Relocation::at_rest(Endpoint& endpoint, Interlude interlude) {
  endpoint.engine_->at_rest(endpoint.index_, std::move(interlude));
}

void Relocation::post(const Endpoint& endpoint, std::function<void()> task) {
  endpoint.engine_->post(std::move(task));
}

void Relocation::shut(Endpoint& endpoint) {
  endpoint.engine_->shut(endpoint.index_);
}

std::string Relocation::busy(const Endpoint& endpoint) {
  return endpoint.engine_->busy(endpoint.index_);
}

std::string Relocation::park(Endpoint& endpoint) {
  assert(endpoint.engine_->busy(endpoint.index_).empty());
  return endpoint.engine_->park(endpoint.index_);
}

std::vector<std::string> Relocation::peers(Endpoint& endpoint) {
  return endpoint.engine_->peers_of(endpoint.index_);
}

bool Relocation::receive_peers(Endpoint& endpoint, std::size_t parts) {
  return endpoint.engine_->receive_peers(endpoint.index_, parts);
}

std::size_t Relocation::attached_peers(const Endpoint& endpoint) {
  return endpoint.engine_->attached_peers(endpoint.index_);
}

void Relocation::open(Endpoint& endpoint, std::uint32_t epoch) {
  endpoint.engine_->open_gate(endpoint.index_, epoch);
}

void Relocation::leave(Endpoint& endpoint) {
  endpoint.engine_->leave(endpoint.index_);
}

bool Relocation::lost(const Endpoint& endpoint) {
  return endpoint.engine_->is_lost(endpoint.index_);
}

std::uint32_t Relocation::epoch(const Endpoint& endpoint) {
  return endpoint.engine_->epoch_of(endpoint.index_);
}

EndpointPlace Relocation::place(const Endpoint& endpoint) {
  return endpoint.engine_->place_of(endpoint.index_);
}

}  // namespace godwit
