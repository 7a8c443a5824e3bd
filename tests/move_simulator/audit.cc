#include "audit.h"

namespace godwit::move_simulator {

std::string Audit::name(std::uint32_t endpoint, std::uint32_t client, std::uint32_t number) {
  return "request " + std::to_string(number) + " of client " + std::to_string(client) +
         " to endpoint " + std::to_string(endpoint);
}

void Audit::on_granted(ProcessId owner, migrate::Epoch epoch) {
  if (!grants_.empty() && epoch <= grants_.back().epoch) {
    fail("the group was given to process " + std::to_string(owner) + " at epoch " +
         std::to_string(epoch) + ", which is not above " + std::to_string(grants_.back().epoch));
  }
  grants_.push_back({epoch, owner});
}

void Audit::on_gate_opened(ProcessId process, migrate::Epoch epoch, const Cells& cells,
                           std::uint32_t others) {
  const std::string who = "process " + std::to_string(process);
  if (others > 0) fail(who + " opened its gate while another was open");
  bool granted = false;
  for (const Grant& grant : grants_) {
    granted = granted || (grant.owner == process && grant.epoch == epoch);
  }
  if (!granted) fail(who + " opened its gate without a grant of epoch " + std::to_string(epoch));
  for (std::uint32_t endpoint = 0; endpoint < cells.size(); ++endpoint) {
    for (std::uint32_t client = 0; client < cells[endpoint].size(); ++client) {
      const Cell& cell = cells[endpoint][client];
      const Known& known = known_[endpoint][client];
      if (cell.effects != known.executed) {
        fail(who + " opened its gate without the effect of " + name(endpoint, client, known.last) +
             " or of one before it");
      }
    }
  }
}

void Audit::on_executed(ProcessId process, std::uint32_t endpoint, std::uint32_t client,
                        std::uint32_t number) {
  Known& known = known_[endpoint][client];
  const std::string who = name(endpoint, client, number);
  if (grants_.back().owner != process) {
    fail(who + " was executed by process " + std::to_string(process) +
         ", which has lost the group");
  }
  if ((known.executed >> number & 1) != 0) fail(who + " was executed twice");
  if (number != known.last + 1) {
    fail(who + " was executed after number " + std::to_string(known.last));
  }
  known.executed |= std::uint64_t{1} << number;
  known.last = number;
  ++count_;
}

void Audit::on_received(std::uint32_t endpoint, std::uint32_t client, std::uint32_t number) {
  if (number > known_[endpoint][client].last) {
    fail(name(endpoint, client, number) + " was acknowledged and never executed");
  }
}

void Audit::on_reply(std::uint32_t endpoint, std::uint32_t client, std::uint32_t number) {
  if ((known_[endpoint][client].executed >> number & 1) == 0) {
    fail(name(endpoint, client, number) + " was answered and never executed");
  }
}

}  // namespace godwit::move_simulator
