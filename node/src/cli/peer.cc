#include "cli/peer.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <utility>

namespace godwit::node::cli {

void add_peer_options(CLI::App* command, PeerChoice& choice) {
  add_endpoint_name(command, choice.name, "The endpoint, with its DC");
  add_duration(command, "--timeout", choice.timeout, "Give up after this time (default: 5s)");
  command->add_flag("--wait", choice.wait, "Wait until the name is bound, within the same time");
  add_transport_option(command, choice.attach);
}

Result<Peer> Peer::find(const Context& context, std::string_view command, const PeerChoice& choice,
                        std::stop_token stop) {
  Peer peer;
  peer.deadline = Wait(Wait::Clock::now() + choice.timeout, std::move(stop));
  auto process = attach(context, command, choice.attach);
  if (!process) return tl::make_unexpected(process.error());
  peer.process = std::move(*process);
  auto endpoint = peer.process->bind_anonymous(dc_of(choice.name), peer.deadline);
  if (!endpoint) return tl::make_unexpected(endpoint.error());
  peer.endpoint = std::move(*endpoint);
  auto remote = choice.wait ? peer.endpoint.wait_bound(choice.name, peer.deadline)
                            : peer.endpoint.lookup(choice.name, peer.deadline);
  if (!remote) {
    Error error = remote.error();
    if (error.endpoint.empty()) error.endpoint = choice.name;
    return tl::make_unexpected(std::move(error));
  }
  peer.remote = *remote;
  return peer;
}

Result<bool> Peer::deliver(Bytes payload) {
  // Most peers receive at once, and a receipt tells more than the arrival.
  constexpr auto kSoon = std::chrono::milliseconds(100);
  const auto soon = std::min(Wait::Clock::now() + kSoon, deadline.until());
  const auto sent = endpoint.send_rendezvous(remote, payload, soon);
  if (sent) return true;
  if (sent.error().code != Errc::deadline_exceeded) return tl::make_unexpected(sent.error());
  if (auto arrived = hand_over(); !arrived) {
    // Perhaps it ended because it had received the message.
    if (endpoint.wait_received(remote, std::chrono::milliseconds(0))) return true;
    return tl::make_unexpected(arrived.error());
  }
  return false;
}

Result<void> Peer::deliver(std::uint64_t bits) {
  if (auto notified = endpoint.notify(remote, bits); !notified) return notified;
  return endpoint.wait_received(remote, deadline);
}

// What was sent lives in this process until it was passed on, and of its arrival at the peer's
// process the API does not tell. But a copy is answered by the peer's engine alone, and in order
// behind the message. So this asks for a byte of a grant that does not exist: the refusal says that
// everything before it has arrived.
Result<void> Peer::hand_over() {
  const GrantRef none{.owner = remote.id(), .key = 0, .length = 1, .rights = Rights::read};
  std::array<std::byte, 1> nothing{};
  auto answer = endpoint.copy_from(none, 0, nothing, deadline);
  if (answer || answer.error().code == Errc::not_found ||
      answer.error().code == Errc::permission_denied)
    return {};
  Error error = answer.error();
  error.outcome = Outcome::unknown;
  return tl::make_unexpected(std::move(error));
}

}  // namespace godwit::node::cli
