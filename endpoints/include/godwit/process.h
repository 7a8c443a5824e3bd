// Process: a program's membership of its node, and its engines.
//
// Made once, at the start; outlives every Endpoint, Message and Request. Functions may be called
// from any thread. Each thread that binds an endpoint gets an engine of its own.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "godwit/endpoint.h"
#include "godwit/error.h"
#include "godwit/fabric/buffer.h"
#include "godwit/fabric/transport.h"
#include "godwit/fabric/ucx_options.h"
#include "godwit/resolver.h"
#include "godwit/wait.h"

namespace godwit {

/// How often better transports are tried again while a peer is reached by a lesser one, as after a
/// device was lost (docs/architecture.md): after `first`, then after twice as long each time, up to
/// `longest`. Traffic goes on meanwhile.
struct ReturnPace {
  std::chrono::milliseconds first = std::chrono::seconds(1);  // zero: never
  std::chrono::milliseconds longest = std::chrono::seconds(30);
};

struct ProcessOptions {
  /// Where the agent's socket is; empty: $GODWIT_RUN or the default (see agent_link.h).
  std::string runtime_directory;
  /// Transports to offer, best first; those the machine lacks are left out.
  std::vector<fabric::TransportKind> transports = {
      fabric::TransportKind::shm, fabric::TransportKind::verbs, fabric::TransportKind::tcp};
  /// Use only this one. The environment variable GODWIT_TRANSPORT sets it, too.
  std::optional<fabric::TransportKind> force_transport;
  /// How long an idle engine polls before it sleeps (adapts downwards). Zero: sleep at once;
  /// nanoseconds::max(): never sleep. Where busy processes are more than processors, zero is best:
  /// whoever polls keeps a processor from whom it waits for.
  std::chrono::nanoseconds spin = std::chrono::microseconds(50);
  std::size_t arena_capacity = std::size_t{256} << 20;  // address space per engine, see docs
  std::string program;  // shown by `godwit`; empty: the process's name
  ReturnPace return_pace;
  /// What the ucx transport runs over, if it is among `transports`: by itself RDMA where the node's
  /// address is one of an RDMA device, else TCP (docs/ucx.md).
  fabric::UcxOptions ucx;
};

class Process {
 public:
  /// Attaches to the node's agent. Errors: agent_unavailable with what to do about it.
  static Result<std::unique_ptr<Process>> attach(ProcessOptions options = {});

  /// No agent, no other process: a directory of this process alone, with any DC that is named.
  /// For tests and for programs that use endpoints between their threads.
  static Result<std::unique_ptr<Process>> embedded(ProcessOptions options = {});

  /// With a resolver of the caller's.
  static Result<std::unique_ptr<Process>> with_resolver(std::unique_ptr<Resolver> resolver,
                                                        ProcessOptions options = {});

  ~Process();
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  /// Binds a full name ("demo/echo") to a new endpoint of the calling thread.
  /// Errors: name_taken, not_found (no such DC), invalid_argument (bad name), agent_unavailable.
  Result<Endpoint> bind(std::string_view full_name, const Wait& wait = std::chrono::seconds(10));
  Result<Endpoint> bind_anonymous(std::string_view dc, const Wait& wait = std::chrono::seconds(10));
  /// Many at once, in one exchange with the agent; one result per name.
  Result<std::vector<Result<Endpoint>>> bind_many(const std::vector<std::string>& full_names,
                                                  const Wait& wait = std::chrono::seconds(60));

  /// Memory for a payload that is sent without a copy; empty when the arena is full. At most
  /// kMaxMessage bytes. Belongs to the calling thread's engine.
  Result<fabric::Buffer> allocate(std::size_t size);

  /// Moves messages of the calling thread's endpoints without blocking; the number of events.
  unsigned progress();
  /// Moves messages until `until()` holds, sleeping when idle. `until` is asked after every
  /// progress.
  Result<void> run_until(const std::function<bool()>& until, const Wait& wait = forever);
  /// Pushes out what sends of this thread have batched.
  void flush();

  /// Breaks every connection of the calling thread's engine, as a failing network would, and lets
  /// the channels carry on over `next` (or the best one), until they return to the best one. For
  /// tests and demonstrations. Returns how many.
  unsigned cut_connections(std::optional<fabric::TransportKind> next = {});
  /// The transport that carries the channel to this peer now, if one does.
  std::optional<fabric::TransportKind> transport_to(const Endpoint& from, const Remote& to) const;

  const std::string& node() const;
  Resolver& resolver();

 private:
  friend class Relocation;
  class Impl;
  explicit Process(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace godwit
