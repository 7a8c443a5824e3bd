// Life of the agent: start, session events, stop. What it answers: agent_requests.cc.
#include "agent/agent.h"

#include <signal.h>
#include <spdlog/spdlog.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <utility>

#include "agent/errors.h"
#include "agent/service_manager.h"
#include "agent/tcp_socket.h"
#include "godwit/agent_link.h"
#include "godwit/coord/local_coordinator.h"
#include "godwit/coord/zookeeper_coordinator.h"

namespace godwit::node {

namespace {

using namespace std::chrono_literals;

constexpr auto kLeaveLimit = 2s;
constexpr auto kCreateDcLimit = 10s;

std::uint64_t random_incarnation() {
  std::uint64_t number = 0;
  while (number == 0) {
    if (::getrandom(&number, sizeof number, 0) != sizeof number) number = 0;
  }
  return number;
}

std::int64_t unix_ms() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

std::string host_name() {
  std::array<char, 256> name{};
  return ::gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "";
}

}  // namespace

Agent::Agent(Config config, std::unique_ptr<EventLoop> loop, RunDirectory run, DcKeys keys)
    : config_(std::move(config)),
      incarnation_(random_incarnation()),
      started_unix_ms_(unix_ms()),
      loop_(std::move(loop)),
      run_(std::move(run)),
      keys_(std::move(keys)) {}

Result<std::unique_ptr<Agent>> Agent::create(Config config) {
  auto run = RunDirectory::open(config.run);
  if (!run) return tl::make_unexpected(std::move(run.error()));
  if (auto made = make_private_directory(config.state); !made) {
    return tl::make_unexpected(std::move(made.error()));
  }
  auto keys = DcKeys::open(config.keys);
  if (!keys) return tl::make_unexpected(std::move(keys.error()));
  auto loop = EventLoop::create();
  if (!loop) return tl::make_unexpected(std::move(loop.error()));
  std::unique_ptr<Agent> agent(
      new Agent(std::move(config), std::move(*loop), std::move(*run), std::move(*keys)));
  if (auto opened = agent->open(); !opened) return tl::make_unexpected(std::move(opened.error()));
  return agent;
}

Agent::~Agent() {
  // No answer of the directory may arrive while its askers are destroyed.
  if (coordinator_) coordinator_->close();
  if (signal_fd_ >= 0) {
    loop_->unwatch(signal_fd_);
    ::close(signal_fd_);
  }
  loop_->cancel(awaited_timer_);
}

Result<void> Agent::open() {
  if (auto watched = watch_signals(); !watched) return watched;
  proto::AgentHello self;
  self.set_version_min(kPeerVersion);
  self.set_version_max(kPeerVersion);
  self.set_node(config_.node);
  self.set_incarnation(incarnation_);
  auto peers = PeerListener::open(*loop_, {config_.listen_host, config_.agent_port}, self);
  if (!peers) return tl::make_unexpected(std::move(peers.error()));
  peers_ = std::move(*peers);
  if (auto opened = open_coordinator(); !opened) return opened;

  directory_ = std::make_unique<coord::Directory>(*coordinator_);
  moves_ = std::make_unique<coord::Moves>(*coordinator_);
  prober_ = std::make_unique<Prober>(*loop_, self);
  nodes_ = std::make_unique<NodeTable>(*loop_, *directory_);
  dcs_ = std::make_unique<DcTable>(*loop_, *directory_, keys_, config_.node);
  processes_ = std::make_unique<ProcessTable>(
      *loop_, config_.reattach_grace,
      [this](Process& process, ProcessEnd end) { on_process_gone(process, end); });
  reaper_ = std::make_unique<Reaper>(*loop_, *directory_);
  cache_ = std::make_unique<DirectoryCache>(
      *loop_, *directory_, [this](SessionNumber session, const KnownEndpoint& endpoint) {
        return push(session, endpoint);
      });
  judge_ = std::make_unique<Judge>(
      *loop_, *directory_, *nodes_, *prober_, config_.node, config_.node_grace,
      [this](const KnownEndpoint& endpoint) { return judge_local(endpoint); });
  nodes_->on_change([this] {
    judge_->nodes_changed();
    judge_awaited();
    mover_->on_nodes_changed();
  });
  claims_ = std::make_unique<Claims>(*loop_, *directory_, *dcs_, *processes_, *reaper_,
                                     config_.node, incarnation_, config_.reattach_grace,
                                     [this](const Process& process, const KnownEndpoint& endpoint) {
                                       push(process.session, endpoint);
                                     });
  binder_ = std::make_unique<Binder>(
      *loop_, *directory_, *dcs_, *processes_, *claims_, *judge_, *reaper_, config_.node,
      incarnation_,
      [this](SessionNumber session, endpoints::proto::Response& response,
             const std::vector<std::shared_ptr<const Dc>>& dcs) { reply(session, response, dcs); });
  open_mover();

  coord::proto::NodeRecord record;
  record.set_name(config_.node);
  record.set_incarnation(incarnation_);
  record.add_addresses(to_text(peers_->address()));
  record.set_host(host_name());
  record.set_pid(static_cast<std::uint32_t>(::getpid()));
  record.set_started_unix_ms(started_unix_ms_);
  const std::uint64_t predecessor = run_.former_incarnation();
  if (auto stored = run_.set_incarnation(incarnation_); !stored) return stored;
  membership_ = std::make_unique<Membership>(
      *loop_, *directory_, std::move(record), predecessor, config_.session_timeout,
      Membership::Events{[this](bool again) { on_registered(again); },
                         [this](const Error& error) { fail_with(error); },
                         [this] { return load(); }});
  publish_programs({});

  auto sessions = SessionServer::open(*loop_, agent_socket_path(run_.path()),
                                      run_.shared_with_group() ? 0660 : 0600, *this);
  if (!sessions) return tl::make_unexpected(std::move(sessions.error()));
  sessions_ = std::move(*sessions);
  admin_ = std::make_unique<Admin>(*loop_, *directory_, *sessions_, *nodes_, *dcs_, keys_,
                                   *processes_, config_.node, [this] { return status(); });
  admin_moves_ =
      std::make_unique<AdminMoves>(*loop_, *moves_, *sessions_, *dcs_, *planner_, config_.node);
  return {};
}

void Agent::open_mover() {
  migrate::Limits limits;
  limits.prepare = config_.prepare_limit;
  limits.blackout = config_.blackout_limit;
  const auto push = [this](SessionNumber session, endpoints::proto::Response& order,
                           const std::vector<std::shared_ptr<const Dc>>& dcs) {
    reply(session, order, dcs);
    sessions_->hurry(session);  // it may be what clients wait for
  };
  MoveParts parts{
      *loop_,       *directory_,
      *moves_,      *nodes_,
      *dcs_,        *processes_,
      *cache_,      *claims_,
      *reaper_,     config_.node,
      incarnation_, config_.reattach_grace,
      limits,       [this] { return membership_->registered(); },
      push,
  };
  mover_ = std::make_unique<Mover>(
      std::move(parts), ProgramSettings{config_.programs, run_.path(), config_.programs_nice},
      Mover::Events{[this](std::function<void()> done) { publish_programs(std::move(done)); },
                    [this] { membership_->load_changed(); }});
  claims_->set_unsettled([this](std::uint64_t process) { return mover_->is_unsettled(process); });
  planner_ = std::make_unique<Planner>(*loop_, *directory_, *moves_, *nodes_, *dcs_, *processes_,
                                       config_.node);
}

void Agent::publish_programs(std::function<void()> done) {
  std::set<std::string> capabilities;
  for (const std::string& program : mover_->programs()) {
    capabilities.insert(program_capability(program));
  }
  membership_->set_capabilities(capabilities, std::move(done));
}

Result<void> Agent::open_coordinator() {
  auto on_session = [this, alive = lifetime_.token()](coord::SessionEvent event) {
    loop_->post([this, alive, event] {
      if (*alive) on_session_event(event);
    });
  };
  const auto take = [&](auto opened) -> Result<void> {
    if (!opened) {
      Error error = to_error(opened.error());
      error.message = "cannot open the directory " + config_.directory.to_string() + ": " +
                      opened.error().message;
      return tl::make_unexpected(std::move(error));
    }
    coordinator_ = std::move(*opened);
    return {};
  };
  if (config_.directory.kind == DirectorySpec::Kind::local) {
    coord::LocalOptions options;
    options.folder = config_.directory.location;
    options.session_timeout = config_.session_timeout;
    options.on_session = std::move(on_session);
    return take(coord::LocalCoordinator::open(std::move(options)));
  }
  if (config_.listen_host == "127.0.0.1" || config_.listen_host == "::1") {
    spdlog::warn("listen_host is {}: nodes on other machines cannot reach this one",
                 config_.listen_host);
  }
  coord::ZooKeeperOptions options;
  options.servers = config_.directory.location;
  options.digest_credentials = config_.directory_credentials;
  options.session_timeout = config_.session_timeout;
  options.on_session = std::move(on_session);
  return take(coord::ZooKeeperCoordinator::open(std::move(options)));
}

Result<void> Agent::watch_signals() {
  // Blocked before any thread starts, so that all of them leave the signals to the descriptor.
  sigset_t signals;
  ::sigemptyset(&signals);
  for (const int number : {SIGTERM, SIGINT, SIGHUP}) ::sigaddset(&signals, number);
  if (::pthread_sigmask(SIG_BLOCK, &signals, nullptr) != 0) {
    return fail(Errc::system, "cannot block signals");
  }
  signal_fd_ = ::signalfd(-1, &signals, SFD_NONBLOCK | SFD_CLOEXEC);
  if (signal_fd_ < 0) return fail_errno("cannot make a signal descriptor");
  return loop_->watch(signal_fd_, EPOLLIN, [this](std::uint32_t) {
    signalfd_siginfo info{};
    while (::read(signal_fd_, &info, sizeof info) == sizeof info) {
      // There is nothing to reload; a terminal that went away is no reason to end.
      if (info.ssi_signo == SIGHUP) continue;
      spdlog::info("stopping");
      leave();
    }
  });
}

Result<void> Agent::run() {
  spdlog::info("agent of node {} in {}, directory {}, other agents reach it at {}", config_.node,
               run_.path(), config_.directory.to_string(), to_text(peers_->address()));
  loop_->run();
  if (failure_) return tl::make_unexpected(*failure_);
  return {};
}

void Agent::stop() {
  loop_->post([this] { leave(); });
}

void Agent::leave() {
  if (std::exchange(leaving_, true)) return;
  tell_service_manager("STOPPING=1");
  // Processes that attach from now on find nobody; those that are attached go on by themselves.
  membership_->leave(coord::after(kLeaveLimit), [this] { loop_->stop(); });
}

void Agent::fail_with(const Error& error) {
  failure_ = error;
  leave();
}

// --- The directory ------------------------------------------------------------------------------

void Agent::on_session_event(coord::SessionEvent event) {
  membership_->on_session(event);
  if (event != coord::SessionEvent::connected) return;
  nodes_->refresh();
  cache_->on_connected();
  reaper_->on_connected();
  claims_->on_connected();
  mover_->on_connected();
}

void Agent::on_registered(bool again) {
  if (again) {
    // While our record was gone others may have judged our processes lost.
    claims_->reclaim_all();
    mover_->start();
    return;
  }
  spdlog::info("registered as node {}", config_.node);
  claims_->sweep();
  mover_->start();
  create_dcs(0);
}

void Agent::create_dcs(std::size_t next) {
  if (next == config_.create_dcs.size()) return ready();
  endpoints::proto::CreateDcRequest request;
  request.set_name(config_.create_dcs[next]);
  admin_->create_dc(request, true, coord::after(kCreateDcLimit),
                    [this, next](const Result<endpoints::proto::DcInfo>& dc) {
                      if (dc) return create_dcs(next + 1);
                      Error error = dc.error();
                      error.message = "cannot create the DC '" + config_.create_dcs[next] +
                                      "': " + error.message;
                      fail_with(error);
                    });
}

void Agent::ready() {
  if (std::exchange(ready_, true)) return;
  spdlog::info("ready");
  tell_service_manager("READY=1\nSTATUS=node " + config_.node);
}

// --- What it says of itself ---------------------------------------------------------------------

coord::proto::NodeLoad Agent::load() const {
  coord::proto::NodeLoad load;
  load.set_processes(static_cast<std::uint32_t>(processes_->size()));
  load.set_endpoints(static_cast<std::uint32_t>(processes_->endpoints()));
  double average = 0;
  const long cores = ::sysconf(_SC_NPROCESSORS_ONLN);
  if (::getloadavg(&average, 1) == 1 && cores > 0) {
    load.set_cpu_busy(static_cast<float>(std::min(1.0, average / static_cast<double>(cores))));
  }
  struct sysinfo info {};
  if (::sysinfo(&info) == 0) {
    load.set_memory_free_bytes(std::uint64_t{info.freeram} * info.mem_unit);
  }
  return load;
}

endpoints::proto::AgentStatus Agent::status() const {
  endpoints::proto::AgentStatus status;
  status.set_node(config_.node);
  status.set_incarnation(incarnation_);
  status.set_pid(static_cast<std::uint32_t>(::getpid()));
  status.set_version(GODWIT_VERSION);
  status.set_started_unix_ms(started_unix_ms_);
  status.set_runtime_directory(run_.path());
  status.set_listen_host(config_.listen_host);
  status.set_agent_port(peers_->address().port);
  status.set_directory(config_.directory.to_string());
  status.set_directory_connected(membership_->connected());
  status.set_registered(membership_->registered());
  status.set_key_directory(keys_.folder());
  status.set_processes(static_cast<std::uint32_t>(processes_->size()));
  status.set_endpoints(processes_->endpoints());
  status.set_cached_names(cache_->size());
  status.set_requests(sessions_->requests());
  status.set_session_expirations(membership_->expirations());
  return status;
}

}  // namespace godwit::node
