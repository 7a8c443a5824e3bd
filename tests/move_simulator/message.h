// What travels in the simulated world: between a process and its agent, between two processes, and
// between clients and processes.
#pragma once

#include <cstdint>

#include "records.h"

namespace godwit::move_simulator {

using ClientId = std::uint32_t;

struct Message {
  enum class Type : std::uint8_t {
    push,      // agent to process: move, push, epoch
    report,    // process to agent: move, report, reason
    hello,     // process to agent, first after each attach: move (of the source part), other_move
    chunk,     // process to dock: what the program's state knows of one client
    image,     // process to dock: what the channel to one client knows
    manifest,  // process to dock: epoch, bits (the hash)
    request,   // client to process: number; `known`: all up to here were answered
    probe,     // client to process: as a request that was acknowledged
    reply,     // process to client: number (0: none), received, epoch
    moved,     // process to client: the endpoint is not here any more
    attach,    // process to client: the endpoint is here, at this epoch
  };
  Type type = Type::push;
  migrate::Push push = migrate::Push::out;
  migrate::Report report = migrate::Report::unknown;
  migrate::Reason reason = migrate::Reason::none;
  MoveId move = 0;
  MoveId other_move = 0;
  migrate::Epoch epoch = 0;
  std::uint32_t link = 0;  // the attachment of the process to its agent that it belongs to
  ProcessId from = 0;
  std::uint32_t endpoint = 0;
  ClientId client = 0;
  std::uint32_t number = 0;
  std::uint32_t received = 0;
  std::uint32_t known = 0;
  std::uint64_t bits = 0;
  std::array<migrate::Epoch, Weather::kMaxEndpoints> epochs{};  // of an image
};

}  // namespace godwit::move_simulator
