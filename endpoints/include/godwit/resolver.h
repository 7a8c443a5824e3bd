// Resolver: what a process asks of the directory: bind, resolve, and be told of changes.
//
// The library never talks to the coordination service itself. Two implementations: AgentLink (the
// node's agent, over its Unix socket) and EmbeddedDirectory (this process alone, no agent). Every
// function may be called from any thread, never blocks, and answers exactly once through its
// callback, on a thread of the resolver; callbacks must be short and must not call back into the
// resolver's destructor.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "godwit/endpoint_id.h"
#include "godwit/error.h"
#include "godwit/fabric/identity.h"

namespace godwit {

enum class EndpointState : std::uint8_t {
  serving = 1,
  moving = 2,   // between two nodes; messages wait
  unbound = 3,  // its owner unbound it or exited
  dead = 4,     // its process or node was lost
};
std::string_view to_string(EndpointState state) noexcept;

/// Where an endpoint is, as the directory says.
struct EndpointPlace {
  EndpointId id;
  std::string name;  // with the DC, "demo/echo"; empty if anonymous
  std::uint64_t lineage = 0;
  std::uint32_t epoch = 0;
  EndpointState state = EndpointState::serving;
  std::string node;
  std::uint64_t process = 0;
  std::string engine_address;  // fabric::EngineAddress blob

  bool gone() const noexcept {
    return state == EndpointState::unbound || state == EndpointState::dead;
  }
};

struct BindRequest {
  std::string dc;
  std::string name;  // empty: anonymous
  std::string engine_address;
  std::string program{};  // that can serve it elsewhere; empty: it cannot move
};

class Resolver {
 public:
  template <typename T>
  using Done = std::function<void(Result<T>)>;

  /// Told of what changes without being asked. Called on the resolver's thread.
  class Listener {
   public:
    /// The endpoint died, was unbound, moved, or its record otherwise changed. Sent for endpoints
    /// that this process resolved or located; may come more than once.
    virtual void on_endpoint_changed(const EndpointPlace& place) = 0;
    /// The agent went away (established traffic goes on) or is back and knows our endpoints again.
    virtual void on_agent(bool available) = 0;

   protected:
    ~Listener() = default;
  };

  virtual ~Resolver() = default;

  /// At most one listener; nullptr removes it, and no call is under way once this returns.
  virtual void set_listener(Listener* listener) = 0;

  /// Takes the name (or an anonymous slot) for this process: a new generation and lineage.
  /// Errors: name_taken, not_found (no such DC, or this node is not in it), agent_unavailable.
  virtual void bind(const BindRequest& request, Done<EndpointPlace> done) = 0;

  /// Binds many at once, much faster than one by one; answers in the same order, one per request.
  virtual void bind_many(const std::vector<BindRequest>& requests,
                         Done<std::vector<Result<EndpointPlace>>> done) = 0;

  virtual void unbind(EndpointId id, Done<void> done) = 0;

  /// What the cache knows of a full name ("demo/echo"), without a system call; nullptr if nothing.
  virtual std::shared_ptr<const EndpointPlace> cached(std::string_view full_name) = 0;

  /// Resolves a full name; not_found if nothing alive is bound to it. Fills the cache, which the
  /// resolver keeps true by itself from then on.
  virtual void resolve(std::string_view full_name, Done<EndpointPlace> done) = 0;

  /// Reads an endpoint's record afresh: also of one that is gone (look at its state). not_found if
  /// the slot has a newer generation or never had this one.
  virtual void locate(EndpointId id, Done<EndpointPlace> done) = 0;

  /// Answers once the name is bound (with its place) or, for unbound, once the name has no living
  /// owner or the id's generation is over. The returned ticket ends the wait early: its callback
  /// then gets `cancelled`. Tickets are cheap and need not be cancelled after the answer.
  using Ticket = std::uint64_t;
  virtual Ticket wait_bound(std::string_view full_name, Done<EndpointPlace> done) = 0;
  virtual Ticket wait_unbound(std::string_view full_name, Done<void> done) = 0;
  virtual void cancel(Ticket ticket) = 0;

  /// The number of a DC by name (asks once, then cached).
  virtual void find_dc(std::string_view dc, Done<std::uint32_t> done) = 0;

  /// The DC's key if this process may use it. Answers from memory: keys come with find_dc(), bind()
  /// and resolve(), before their callbacks run.
  virtual std::optional<fabric::DcKey> key(std::uint32_t dc) const = 0;

  /// The node's name, also before the first contact with an agent (embedded: "local").
  virtual std::string node() const = 0;
  /// This process's number in its node, new at each start.
  virtual std::uint64_t process() const = 0;
  /// A directory of mode 0700 where engines of this process put their Unix sockets.
  virtual std::string runtime_directory() const = 0;
  /// The numeric address on which engines of this process listen for other nodes.
  virtual std::string listen_host() const = 0;
};

}  // namespace godwit
