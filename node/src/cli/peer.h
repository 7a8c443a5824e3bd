// Peer: what a command that addresses one endpoint works with.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <stop_token>
#include <string>
#include <string_view>

#include "cli/attach.h"
#include "cli/command.h"
#include "godwit/endpoint.h"
#include "godwit/process.h"

namespace godwit::node::cli {

struct PeerChoice {
  std::string name;
  std::chrono::nanoseconds timeout = std::chrono::seconds(5);
  bool wait = false;
  AttachChoice attach;
};

/// Adds NAME, --timeout, --wait and --transport.
void add_peer_options(CLI::App* command, PeerChoice& choice);

/// An anonymous endpoint in the peer's DC, and the peer. Used by one thread.
struct Peer {
  std::unique_ptr<Process> process;  // first: it outlives the endpoint
  Endpoint endpoint;
  Remote remote;
  Wait deadline;  // what is left of the time given

  /// Attaches as `godwit COMMAND`, binds and looks the name up, or waits until it is bound.
  static Result<Peer> find(const Context& context, std::string_view command,
                           const PeerChoice& choice, std::stop_token stop = {});

  /// Sends a message and waits until the peer has received it or, if it does not do so soon, until
  /// it is with the peer's process, so that this one may end. Whether it was received.
  Result<bool> deliver(Bytes payload);
  /// The same for bits, of which nobody tells if they were received.
  Result<void> deliver(std::uint64_t bits);

 private:
  Result<void> hand_over();
};

}  // namespace godwit::node::cli
