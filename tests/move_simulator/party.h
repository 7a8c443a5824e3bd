// Party: an agent, a process or a client: it can be stopped (SIGSTOP), and then what happens to it
// waits until it goes on; and it can be killed.
#pragma once

#include <cstdint>
#include <vector>

namespace godwit::move_simulator {

enum class What : std::uint8_t {
  // of an agent
  read_answer,  // b: revision
  answer,       // b: operation, c: revision, d: 1 if it happened
  retry,        // b: operation
  look,
  agent_timer,
  agent_message,  // b: message
  process_lost,   // b: process
  spawned,        // b: move
  plan,           // b: move
  judge_this,     // b: node
  // of a process
  attach,           // b: the incarnation of its agent
  process_message,  // b: message
  take,
  handled,  // b: endpoint, c: client, d: number
  round,    // b: the move
  sent,     // b: the move
  docked,   // b: the move
  quiet,    // b: the move
  process_timer,
  broken,  // b: the process at the other end
  // of a client
  client_message,  // b: message
  client_timer,
  call,
  lookup_answer,  // b: endpoint, c: revision
  // of the world
  read,       // a: node, b: incarnation
  operation,  // a: node, b: operation, c: incarnation
  lookup,     // a: client, b: endpoint
  expire,     // a: node, b: silence
  judge,      // a: node
  wake,       // a: agent or process or client, b: which of these
  restart,    // a: node
  heal,       // a: from, b: to
  join,       // a: node: its way to the directory is whole again
  restore,    // the directory is back
  process_crash,
  agent_crash,
  pause,
  cut,
  partition,
  outage,
  node_loss,
  client_fault,
  calm,
};

struct Event {
  std::uint64_t time;
  std::uint32_t order;  // among equal times
  What what;
  std::uint32_t a;
  std::uint32_t b;
  std::uint32_t c;
  std::uint32_t d;
  std::uint32_t incarnation;  // of the agent that it is for
  bool operator>(const Event& other) const noexcept {
    return time != other.time ? time > other.time : order > other.order;
  }
};

struct Party {
  bool alive = true;
  bool paused = false;
  std::vector<Event> backlog;  // while paused

  bool runs() const noexcept { return alive && !paused; }
};

}  // namespace godwit::move_simulator
