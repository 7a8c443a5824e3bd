// Movable: endpoints that can be served on another node, with their state, while their clients go
// on calling (docs/migration.md). A program binds them through a Movable; its node's agent tells it
// when to move (`godwit migrate`, `godwit drain`).
//
//   Store store;  // a godwit::State
//   auto movable = Movable::create(*process, {.program = "kv", .names = {"demo/kv"}}, &store);
//   while ((*movable)->serve(stop)) {  // bound here, or moved here
//     auto& kv = (*movable)->endpoint();
//     while (auto request = kv.receive_request(stop)) { ... }  // until it moves away
//   }
//
// The same loop serves at the old place, stands by for the endpoints' return, and takes them at the
// new place: when they move away, receive_request() answers Errc::moved, and serve() waits until
// they move here again. A server without a State moves with no more code than this.
//
// Threads: a Movable, its State and its endpoints belong to the thread that made it. The process
// must be attached to an agent. Moves make progress while that thread waits for input at one of the
// endpoints, or in serve().
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "godwit/endpoint.h"
#include "godwit/migrate/move.h"
#include "godwit/process.h"

namespace godwit {

class Movable;

/// Takes a part of the state. Nothing is sent inside put(); a record arrives whole at load().
class StateWriter {
 public:
  /// `kind` is the program's own. A record of any size; it is copied.
  virtual void put(std::uint32_t kind, Bytes record) = 0;
  /// In save(): enough for now; return, and be called again soon. Never in save_rest().
  virtual bool full() const = 0;

 protected:
  ~StateWriter() = default;
};

/// What a server remembers. Saved in rounds: first all of it while it serves on, then what has
/// changed since, until little is left; the rest with the gate shut, while the clients wait.
/// Called between requests, never inside one.
class State {
 public:
  virtual ~State() = default;

  /// Of the format. The target may be a newer build, whose load() is told the version.
  virtual std::uint32_t version() const { return 1; }
  /// A move begins: nothing is saved yet. Also after one that was given up.
  virtual void begin() {}
  /// Saves some of what is not saved yet, until there is no more or the writer is full. Takes the
  /// server's time: tens of microseconds are good.
  virtual Result<void> save(StateWriter&) { return {}; }
  /// About how many bytes save() has still to do. 0: all is saved but what save_rest() writes.
  virtual std::uint64_t unsaved() const { return 0; }
  /// Saves all that is left. Its time is time that the clients wait.
  virtual Result<void> save_rest(StateWriter& writer) = 0;

  /// Takes one record, in the order of put(). An error gives the move up, with its text.
  virtual Result<void> load(std::uint32_t version, std::uint32_t kind, Bytes record) = 0;
  /// All is loaded, and the endpoints are here, but do not serve yet: the place for
  /// Endpoint::regrant(). An error gives the move up.
  virtual Result<void> loaded(Movable&) { return {}; }
  /// The state is another's now, or a move to here was given up: forget it.
  virtual void reset() = 0;
};

struct MovableOptions {
  /// What agents know as `[programs.NAME]`; empty: this process's name.
  std::string program;
  /// Full names, of one DC. They move together.
  std::vector<std::string> names{};
  /// Do not bind: wait until they move here. A process that an agent has started for a move does
  /// so anyway.
  bool stand_by = false;
  migrate::Limits limits{};
};

class Movable {
 public:
  /// `state` may be null: the server has none. It must outlive the Movable. Errors:
  /// invalid_argument, not_supported (the process is not attached to an agent).
  static Result<std::unique_ptr<Movable>> create(Process& process, MovableOptions options,
                                                 State* state = nullptr);
  /// Unbinds the endpoints, if they are here.
  ~Movable();
  Movable(const Movable&) = delete;
  Movable& operator=(const Movable&) = delete;

  /// Returns when the endpoints serve here. The first call binds them (errors of
  /// Process::bind(); it waits 10 s for the agent's answer at least), unless they are to move here;
  /// later calls stand by for their return. Errors also: deadline_exceeded (it stays announced to
  /// stand by; call again soon, a move waits for that), cancelled (it stands by no more),
  /// endpoint_died (others took this node for lost while it could not be reached: the endpoints are
  /// dead and the state is forgotten; called again it stands by).
  Result<void> serve(const Wait& wait = forever);

  /// In the order of the names. Valid from serve() until the next serve().
  Endpoint& endpoint(std::size_t index = 0);
  std::size_t size() const noexcept;
  /// Whether they serve here now.
  bool serving() const noexcept;

 private:
  class Impl;
  Movable();
  std::unique_ptr<Impl> impl_;
};

}  // namespace godwit
