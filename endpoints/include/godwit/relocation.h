// Relocation: what a mover needs of an endpoint. Programs use migrate/'s godwit/movable.h; this is
// what that is made of.
//
// An endpoint's gate is open, closing (what was taken may end, nothing new is handed out), parked
// (nothing at all), or the endpoint has left (receive() and receive_request() answer
// Errc::moved). Only whoever has the directory's word for it may open a gate (docs/migration.md).
//
// All functions but post() are for the endpoint's thread.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "godwit/endpoint.h"
#include "godwit/process.h"

namespace godwit {

class Relocation {
 public:
  /// Runs whenever the thread asks the endpoint for input and before each sleep of that wait:
  /// between two requests, never inside one. True: it has more to do, and the engine does not
  /// sleep. It must not call the endpoint's receive functions. Null: none.
  using Interlude = std::function<bool()>;
  static void at_rest(Endpoint& endpoint, Interlude interlude);

  /// Runs `task` soon on the thread that the endpoint belongs to, also inside a request. Any
  /// thread.
  static void post(const Endpoint& endpoint, std::function<void()> task);
  /// The same for the calling thread, which may have no endpoint yet. The answer may be used by any
  /// thread, also after the process's end: then it does nothing.
  using Poster = std::function<void(std::function<void()>)>;
  static Result<Poster> poster(Process& process);

  /// As Process::bind_many(), for endpoints that `program` can serve elsewhere: all of them or
  /// none.
  static Result<std::vector<Endpoint>> bind(Process& process, const std::vector<std::string>& names,
                                            const std::string& program, const Wait& wait);

  static void shut(Endpoint& endpoint);
  /// What a closing endpoint still does, for people; empty: it can be parked.
  static std::string busy(const Endpoint& endpoint);
  /// Parks an endpoint that is closing and not busy. The answer is its image: what install() makes
  /// it of elsewhere. The endpoint itself stays, for open() or leave().
  static std::string park(Endpoint& endpoint);

  /// Where the engines of the endpoint's peers are reached, each once: for acquaint(). Peers whose
  /// address only the directory knows are missing until it has answered.
  static std::vector<std::string> peers(Endpoint& endpoint);
  /// Has the calling thread dial the engine at `engine_address`, for endpoints of DC `dc`, so that
  /// an endpoint which arrives later finds its way open. Error: protocol_error (no address).
  static Result<void> acquaint(Process& process, std::uint32_t dc, std::string_view engine_address);

  /// Makes the endpoint of an image, behind a shut gate, on the calling thread. Errors:
  /// protocol_error (damaged), version_mismatch, name_taken (it is in this process), no_memory.
  static Result<Endpoint> install(Process& process, std::string_view image);
  /// Attaches an endpoint behind a shut gate to its peers: what they send again, and what they send
  /// from now on, waits here for the gate to open. Not needed, but the peers wait less. One of
  /// `parts` of them at a time, for callers with something else to look at; true: there are more.
  static bool receive_peers(Endpoint& endpoint, std::size_t parts = 1);
  /// How many of its peers are attached now: to see whether they have come, for tests and people.
  static std::size_t attached_peers(const Endpoint& endpoint);

  /// Serves at `epoch`: what waits here, and what comes. Peers that are not attached yet are
  /// attached to now.
  static void open(Endpoint& endpoint, std::uint32_t epoch);
  /// The endpoint serves elsewhere.
  static void leave(Endpoint& endpoint);

  /// It was taken for dead while it lived: it has left, and nobody has it.
  static bool lost(const Endpoint& endpoint);

  static std::uint32_t epoch(const Endpoint& endpoint);
  /// As its record should have it: id, name, lineage, epoch, engine's address.
  static EndpointPlace place(const Endpoint& endpoint);
  /// Where the engine of the calling thread is reached, for the endpoint's record.
  static Result<std::string> engine_address(Process& process);
};

}  // namespace godwit
