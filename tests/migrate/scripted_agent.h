// ScriptedAgent: the agent of a node, played by a test: it answers what processes need (names,
// places), remembers what they say of moves, and tells them what the test wants, at any time.
//
// The directory is in memory and has one DC, `demo`. Threads: any; one of its own accepts, one more
// reads each connection.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <list>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "endpoints/agent_conversation.h"
#include "godwit/endpoints/agent.pb.h"
#include "godwit/migrate/move.h"
#include "godwit/resolver.h"

namespace godwit::migrate_tests {

using endpoints::proto::MoveReport;
using endpoints::proto::StandBy;
using migrate::Epoch;
using migrate::ProcessId;
using migrate::Push;
using migrate::Reason;
using migrate::Report;
using MoveId = std::uint64_t;

/// Only reached when something is broken.
inline constexpr std::chrono::seconds kLong{40};

/// What it gives with `close`, for the target's agent.
std::string intent_of(MoveId move);

class ScriptedAgent {
 public:
  explicit ScriptedAgent(std::string run);
  ~ScriptedAgent();
  ScriptedAgent(const ScriptedAgent&) = delete;
  ScriptedAgent& operator=(const ScriptedAgent&) = delete;

  const std::string& run() const { return run_; }

  // --- orders and reports

  void order(ProcessId to, MoveId move, Push push, Epoch epoch = 0,
             const std::optional<EndpointId>& dock = {});
  /// The next report of that process, of any move, that has not been returned. The same progress
  /// again and again counts as one. Empty (and a failure) if none comes.
  std::optional<MoveReport> next_report(ProcessId from);
  /// The next report must be this one. What is said again and again as time goes by (that it
  /// copies, or that little is left) may come before, and so may word of the intent.
  MoveReport expect(ProcessId from, MoveId move, Report report, Reason reason = Reason::none);
  /// Nothing was reported that was not asked for: whatever was told to the process before is done.
  void expect_silence(ProcessId from);
  /// Whether there is a report that was not returned yet.
  bool has_report(ProcessId from);
  /// The next word about standing by.
  StandBy next_stand_by(ProcessId from);
  std::size_t stand_bys_left(ProcessId from);

  // --- the directory

  EndpointPlace place(const std::string& name);
  /// A commit: the endpoints, in this order, are another process's now.
  void commit(const std::vector<std::string>& names, ProcessId owner, Epoch epoch,
              const MoveReport& restored);
  /// An abort after the intent.
  void raise(const std::vector<std::string>& names, Epoch epoch);
  /// A process is lost: what it owns is dead.
  void bury(ProcessId process);
  /// Ends that came from a process which does not own the endpoint.
  std::size_t foreign_unbinds();
  bool gone(const EndpointId& id);
  /// Waits for the end of an endpoint that was unbound.
  bool wait_unbound(const EndpointId& id);
  /// What a process has claimed at its last attach.
  std::vector<EndpointPlace> claims(ProcessId process);

  // --- the agent's end, and its next life. What it knew of processes is lost; the directory is
  // not.

  void go_down();
  void come_up();
  /// Until that process has attached to the present life.
  bool wait_attached(ProcessId process);
  /// A process that is attached and not among those.
  ProcessId next_newcomer(const std::vector<ProcessId>& known);

 private:
  using Request = endpoints::proto::Request;
  using Response = endpoints::proto::Response;
  using Conversation = endpoints_tests::Conversation;

  struct Session {
    explicit Session(Conversation&& from) : conversation(std::move(from)) {}
    Conversation conversation;
    ProcessId process = 0;
    bool attached = false;
    std::jthread thread;
  };
  struct Wait {
    Session* session;
    std::uint64_t number;
    std::string name;
  };
  struct Said {
    std::vector<MoveReport> reports;
    std::size_t reports_taken = 0;
    std::pair<MoveId, Report> last_progress{};  // of whoever expects: one thread at a time
    std::vector<StandBy> stand_bys;
    std::size_t stand_bys_taken = 0;
    std::vector<EndpointPlace> claims;
  };

  void accept();
  void serve(Session& session);
  void take(Session& session, const Request& request);
  void bind(Session& session, const Request& request);
  void answer(Session& session, const Request& request, const EndpointPlace* place);
  void changed(const EndpointPlace& place);
  void put(Session& session, const Response& response);
  std::pair<MoveId, Report>& last_progress(ProcessId from);
  Session* session_of(ProcessId process);
  EndpointPlace* find(const std::string& name);
  EndpointPlace* find(const EndpointId& id);
  void unbind(ProcessId by, const EndpointId& id);
  template <typename Ready>
  bool wait(std::unique_lock<std::mutex>& lock, Ready ready) {
    return something_.wait_for(lock, kLong, ready);
  }

  const std::string run_;
  std::mutex mutex_;
  std::condition_variable something_;
  std::list<Session> sessions_;
  std::vector<Wait> waits_;
  std::map<ProcessId, Said> said_;
  std::map<EndpointId, EndpointPlace> places_;
  std::map<std::uint64_t, Response> binds_;  // by nonce
  std::uint32_t next_slot_ = 1;
  std::size_t foreign_unbinds_ = 0;
  std::optional<endpoints_tests::AgentListener> listener_;
  std::jthread acceptor_;
};

/// "restored", "cannot (a request does not end): ...", for failures of tests.
std::string described(const MoveReport& report);

}  // namespace godwit::migrate_tests
