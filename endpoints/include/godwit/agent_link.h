// AgentLink: the Resolver of a process that is attached to its node's agent.
//
// Owner: the Process (or whoever attached); endpoints and engines only use it. Threads: every
// function may be called from any thread but the destructor, which must not be called from a
// callback. One background thread talks to the agent over `<run>/agent.sock` and runs all callbacks
// and the listener.
//
// When the agent goes away, established traffic is not concerned. The link reconnects for ever,
// tells the new agent which endpoints this process holds and what it resolved, and repeats what was
// not answered; a bind carries a nonce, so a lost answer does not bind twice. A request fails with
// agent_unavailable once AgentLinkOptions::request_timeout has passed; waits have no such limit.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "godwit/resolver.h"

namespace godwit::endpoints::proto {
class MoveOrder;
class MoveReport;
}  // namespace godwit::endpoints::proto

namespace godwit {

/// The runtime directory used where none is given: $GODWIT_RUN, else /run/godwit if this user can
/// write there, else $XDG_RUNTIME_DIR/godwit, else /tmp/godwit-UID. A machine with several agents
/// gives each its own.
std::string default_runtime_directory();

/// The agent's socket in a runtime directory.
std::string agent_socket_path(std::string_view runtime_directory);

/// 16 hexadecimal digits. Files of a process in the runtime directory (or in its folders `engines`
/// and `counters`) that begin with them are removed by the agent when the process is gone.
std::string process_file_stem(std::uint64_t process);

struct AgentLinkOptions {
  std::string runtime_directory;  // empty: default_runtime_directory()
  std::string program;            // shown by `godwit`; empty: this process's name
  std::chrono::milliseconds attach_timeout{5000};
  std::chrono::milliseconds request_timeout{5000};
};

class AgentLink final : public Resolver {
 public:
  /// Blocks until the agent knows this process. Errors: agent_unavailable (none runs there, or it
  /// did not answer within attach_timeout), permission_denied, version_mismatch.
  static Result<std::unique_ptr<AgentLink>> attach(AgentLinkOptions options = {});

  /// Detaches: the agent unbinds this process's endpoints. Requests under way are answered
  /// `closed`.
  ~AgentLink() override;
  AgentLink(const AgentLink&) = delete;
  AgentLink& operator=(const AgentLink&) = delete;

  void set_listener(Listener* listener) override;
  void bind(const BindRequest& request, Done<EndpointPlace> done) override;
  void bind_many(const std::vector<BindRequest>& requests,
                 Done<std::vector<Result<EndpointPlace>>> done) override;
  void unbind(EndpointId id, Done<void> done) override;
  std::shared_ptr<const EndpointPlace> cached(std::string_view full_name) override;
  void resolve(std::string_view full_name, Done<EndpointPlace> done) override;
  void locate(EndpointId id, Done<EndpointPlace> done) override;
  Ticket wait_bound(std::string_view full_name, Done<EndpointPlace> done) override;
  Ticket wait_unbound(std::string_view full_name, Done<void> done) override;
  void cancel(Ticket ticket) override;
  void find_dc(std::string_view dc, Done<std::uint32_t> done) override;
  std::optional<fabric::DcKey> key(std::uint32_t dc) const override;
  std::string node() const override;
  std::uint64_t process() const override;
  std::string runtime_directory() const override;
  std::string listen_host() const override;

  /// Whether the agent is there now.
  bool connected() const;

  // --- for migrate/ ------------------------------------------------------------------------------

  /// Told on the link's thread, which must not be held up.
  class MoveHandler {
   public:
    virtual void on_order(const endpoints::proto::MoveOrder& order) = 0;
    /// An agent knows this process again, and nothing of what it was told before.
    virtual void on_attached() = 0;

   protected:
    ~MoveHandler() = default;
  };
  /// At most one; nullptr removes it, and no call is under way once this returns.
  void set_move_handler(MoveHandler* handler);

  /// Says that this process can take a group of that program (`move`: the one that the agent has
  /// started it for, else 0), or that it cannot any more. Goes nowhere while there is no agent:
  /// on_attached() is when to say it again. So does report().
  void stand_by(std::string_view program, std::uint64_t move, bool withdraw);
  void report(const endpoints::proto::MoveReport& report);

  /// The endpoint is this process's now, or not any more: what a new agent is told.
  void adopt(const EndpointPlace& place);
  void relinquish(EndpointId id);

 private:
  class Impl;
  explicit AgentLink(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace godwit
