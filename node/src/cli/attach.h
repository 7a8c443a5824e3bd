// How commands that send and receive become a process of their node.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "cli/command.h"
#include "godwit/process.h"

namespace godwit::node::cli {

/// What the user chose of transports and waiting.
struct AttachChoice {
  std::string transport;  // use only this one towards peers; empty: the best
  bool polling = false;   // never sleep
  bool blocking = false;  // sleep at once
};

/// Adds --transport.
void add_transport_option(CLI::App* command, AttachChoice& choice);
/// Adds --polling and --blocking.
void add_waiting_options(CLI::App* command, AttachChoice& choice);

/// Attaches to the agent as `godwit COMMAND`. Every transport of this build is offered to peers.
Result<std::unique_ptr<Process>> attach(const Context& context, std::string_view command,
                                        const AttachChoice& choice = {});

/// The transport that carries the channel now, "shm"; empty if none does.
std::string transport_name(const Process& process, const Endpoint& from, const Remote& to);

/// The DC of a full name.
std::string dc_of(std::string_view full_name);

}  // namespace godwit::node::cli
