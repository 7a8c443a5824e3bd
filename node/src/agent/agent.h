// Agent: the composition root of godwitd. It owns every part, carries events between them, and
// decides what a process's request means.
//
// Threads: run() is the agent's thread; all parts are touched on it alone. stop() may be called
// from any thread and from a signal handler's helper; the coordinator's events are posted to the
// loop.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "agent/admin.h"
#include "agent/admin_moves.h"
#include "agent/binder.h"
#include "agent/claims.h"
#include "agent/config.h"
#include "agent/dc_keys.h"
#include "agent/dc_table.h"
#include "agent/directory_cache.h"
#include "agent/event_loop.h"
#include "agent/judge.h"
#include "agent/membership.h"
#include "agent/mover.h"
#include "agent/node_table.h"
#include "agent/peer_listener.h"
#include "agent/planner.h"
#include "agent/probe.h"
#include "agent/process_table.h"
#include "agent/reaper.h"
#include "agent/run_directory.h"
#include "agent/session_server.h"

namespace godwit::node {

class Agent final : private SessionServer::Handler {
 public:
  /// Takes the run directory, listens, opens the directory's store. Nothing is registered yet.
  static Result<std::unique_ptr<Agent>> create(Config config);
  ~Agent();

  /// Until stop() or SIGTERM or SIGINT. An error is why it could not go on.
  Result<void> run();
  void stop();

 private:
  Agent(Config config, std::unique_ptr<EventLoop> loop, RunDirectory run, DcKeys keys);

  Result<void> open();
  Result<void> open_coordinator();
  void open_mover();
  void publish_programs(std::function<void()> done);
  Result<void> watch_signals();
  void on_session_event(coord::SessionEvent event);
  void on_registered(bool again);
  void create_dcs(std::size_t next);
  void ready();
  void leave();
  void fail_with(const Error& error);

  // SessionServer::Handler
  void on_request(Session& session, endpoints::proto::Request& request) override;
  void on_session_closed(const Session& session) override;

  void hello(Session& session, const endpoints::proto::Request& request);
  void on_process_request(Session& session, Process& process, endpoints::proto::Request& request);
  void detach(SessionNumber session, std::uint64_t number, std::uint64_t process);
  void unbind(SessionNumber session, std::uint64_t number, Process& process, const EndpointId& id,
              coord::Deadline deadline);
  void unbind_refused(SessionNumber session, std::uint64_t number, const Known& endpoint,
                      std::uint64_t process, coord::Deadline deadline);
  void unbound(SessionNumber session, std::uint64_t number, const Known& endpoint,
               std::uint64_t process);
  void resolve(SessionNumber session, std::uint64_t number, const std::string& full_name,
               coord::Deadline deadline);
  void locate(SessionNumber session, std::uint64_t number, const EndpointId& id,
              coord::Deadline deadline);
  void wait(SessionNumber session, std::uint64_t number, const std::string& full_name, bool bound);
  void find_dc(SessionNumber session, std::uint64_t number, const std::string& name,
               coord::Deadline deadline);
  void subscribe(SessionNumber session, const endpoints::proto::Subscribe& request);

  void on_process_gone(Process& process, ProcessEnd end);
  std::optional<Judge::Verdict> judge_local(const KnownEndpoint& endpoint) const;
  void judge_awaited();
  bool push(SessionNumber session, const KnownEndpoint& endpoint);
  void reply(SessionNumber session, endpoints::proto::Response& response,
             const std::vector<std::shared_ptr<const Dc>>& dcs);
  void reply_place(SessionNumber session, std::uint64_t number, const Result<Known>& endpoint,
                   const std::shared_ptr<const Dc>& dc);
  void reply_done(SessionNumber session, std::uint64_t number);
  std::function<void(Result<void>)> answer_done(SessionNumber session, std::uint64_t number);
  void refuse(SessionNumber session, std::uint64_t number, const Error& error);
  coord::proto::NodeLoad load() const;
  endpoints::proto::AgentStatus status() const;

  const Config config_;
  const std::uint64_t incarnation_;
  const std::int64_t started_unix_ms_;
  std::unique_ptr<EventLoop> loop_;
  RunDirectory run_;
  DcKeys keys_;
  int signal_fd_ = -1;
  bool ready_ = false;
  bool leaving_ = false;
  std::optional<Error> failure_;
  EventLoop::TimerId awaited_timer_ = 0;

  // Destroyed from the last to the first: the coordinator is closed before the directory goes.
  std::unique_ptr<coord::Coordinator> coordinator_;
  std::unique_ptr<coord::Directory> directory_;
  std::unique_ptr<coord::Moves> moves_;
  std::unique_ptr<PeerListener> peers_;
  std::unique_ptr<Prober> prober_;
  std::unique_ptr<NodeTable> nodes_;
  std::unique_ptr<DcTable> dcs_;
  std::unique_ptr<ProcessTable> processes_;
  std::unique_ptr<Reaper> reaper_;
  std::unique_ptr<Membership> membership_;
  std::unique_ptr<DirectoryCache> cache_;
  std::unique_ptr<Judge> judge_;
  std::unique_ptr<Claims> claims_;
  std::unique_ptr<Binder> binder_;
  std::unique_ptr<Mover> mover_;
  std::unique_ptr<Planner> planner_;
  std::unique_ptr<SessionServer> sessions_;
  std::unique_ptr<Admin> admin_;
  std::unique_ptr<AdminMoves> admin_moves_;
  Lifetime lifetime_;
};

}  // namespace godwit::node
