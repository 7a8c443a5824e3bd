// What the agent answers to processes.
#include <algorithm>
#include <utility>

#include "agent/agent.h"
#include "agent/errors.h"
#include "godwit/agent_protocol.h"

namespace godwit::node {

namespace {

using namespace std::chrono_literals;
namespace wire = endpoints::proto;

constexpr auto kLongestRequest = 60s;
// How long a question for an endpoint's place waits for a sign of life of its node.
constexpr auto kLocatePatience = 1500ms;
constexpr auto kAwaitedInterval = 1s;
constexpr auto kSubscribeLimit = 10s;

coord::Deadline deadline_of(const wire::Request& request) {
  const std::chrono::milliseconds asked(request.timeout_ms());
  return coord::after(asked.count() == 0
                          ? std::chrono::milliseconds(kLongestRequest)
                          : std::min<std::chrono::milliseconds>(asked, kLongestRequest));
}

}  // namespace

void Agent::on_request(Session& session, wire::Request& request) {
  if (!session.hello_done) {
    if (request.has_hello()) return hello(session, request);
    refuse(session.number, request.number(),
           Error{Errc::protocol_error, "a connection begins with a hello", {}});
    sessions_->flush_all();
    return sessions_->close(session.number);
  }
  if (admin_->handle(session, request, deadline_of(request))) return;
  if (admin_moves_->handle(session, request, deadline_of(request))) return;
  Process* process = processes_->find(session.process);
  if (process == nullptr) {
    return refuse(session.number, request.number(),
                  Error{Errc::not_supported, "this needs a connection of a process", {}});
  }
  on_process_request(session, *process, request);
}

void Agent::hello(Session& session, const wire::Request& request) {
  const auto& hello = request.hello();
  const auto refuse_and_close = [&](const Error& error) {
    refuse(session.number, request.number(), error);
    sessions_->flush_all();
    sessions_->close(session.number);
  };
  if (hello.version_min() > agent_protocol::kVersionMax ||
      hello.version_max() < agent_protocol::kVersionMin) {
    return refuse_and_close(
        Error{Errc::version_mismatch,
              "the agent speaks version " + std::to_string(agent_protocol::kVersionMax) +
                  " and the process " + std::to_string(hello.version_min()) + " to " +
                  std::to_string(hello.version_max()) + ": restart the older of the two",
              {}});
  }
  if (leaving_)
    return refuse_and_close(Error{Errc::agent_unavailable, "the agent is stopping", {}});
  session.hello_done = true;
  const SessionNumber number = session.number;
  if (hello.has_process()) {
    auto replaced = processes_->attach(session, hello);
    if (!replaced) return refuse_and_close(replaced.error());
    if (*replaced != 0) sessions_->close(*replaced);
    membership_->load_changed();
  }
  wire::Response response;
  response.set_number(request.number());
  auto& answer = *response.mutable_hello();
  answer.set_version(std::min(agent_protocol::kVersionMax, hello.version_max()));
  answer.set_node(config_.node);
  answer.set_incarnation(incarnation_);
  answer.set_listen_host(config_.listen_host);
  answer.set_runtime_directory(run_.path());
  sessions_->send(number, response);
}

void Agent::on_process_request(Session& session, Process& process, wire::Request& request) {
  const SessionNumber from = session.number;
  const std::uint64_t number = request.number();
  const auto deadline = deadline_of(request);
  switch (request.body_case()) {
    case wire::Request::kClaim:
      claims_->claim(process, request.claim());
      if (request.claim().last()) mover_->on_attached(process.number);
      return reply_done(from, number);
    case wire::Request::kDetach:
      return detach(from, number, process.number);
    case wire::Request::kBind: {
      // Shared: the message outlives this call when the node is not registered yet.
      auto bind = std::make_shared<wire::Bind>(std::move(*request.mutable_bind()));
      return membership_->when_registered(deadline, [this, from, number, deadline, bind,
                                                     process_number = process.number] {
        Process* owner = processes_->find(process_number);
        if (owner == nullptr) return;
        if (!membership_->registered()) {
          return refuse(from, number,
                        Error{Errc::agent_unavailable,
                              "the directory cannot be reached: this node is not registered in it",
                              {}});
        }
        membership_->load_changed();
        binder_->bind(*owner, from, number, *bind, deadline);
      });
    }
    case wire::Request::kUnbind: {
      const auto& unbound = request.unbind();
      return unbind(from, number, process, {unbound.dc(), unbound.slot(), unbound.generation()},
                    deadline);
    }
    case wire::Request::kResolve:
      return resolve(from, number, request.resolve().name(), deadline);
    case wire::Request::kLocate: {
      const auto& located = request.locate();
      return locate(from, number, {located.dc(), located.slot(), located.generation()}, deadline);
    }
    case wire::Request::kWaitBound:
      return wait(from, number, request.wait_bound().name(), true);
    case wire::Request::kWaitUnbound:
      return wait(from, number, request.wait_unbound().name(), false);
    case wire::Request::kCancelWait:
      cache_->cancel_wait(from, request.cancel_wait().number());
      return reply_done(from, number);
    case wire::Request::kFindDc:
      return find_dc(from, number, request.find_dc().dc(), deadline);
    case wire::Request::kSubscribe:
      subscribe(from, request.subscribe());
      return reply_done(from, number);
    case wire::Request::kStandBy:
      return mover_->stand_by(process, request.stand_by(), answer_done(from, number));
    case wire::Request::kMoveReport:
      return mover_->report(process, request.move_report(), answer_done(from, number));
    default:
      return refuse(from, number,
                    Error{Errc::not_supported, "this agent does not know the request", {}});
  }
}

void Agent::on_session_closed(const Session& session) {
  cache_->drop_session(session.number);
  admin_->session_closed(session.number);
  if (session.process != 0) processes_->session_closed(session);
}

// --- Judgements ---------------------------------------------------------------------------------

std::optional<Judge::Verdict> Agent::judge_local(const KnownEndpoint& endpoint) const {
  const auto& owner = endpoint.record.owner();
  if (const Process* process = processes_->find(owner.process())) {
    if (process->held.contains(endpoint.id())) return Judge::Verdict::alive;
    if (process->claiming || process->binds_in_flight > 0) return std::nullopt;
    if (mover_->is_unsettled(owner.process())) return std::nullopt;
    if (claims_->undecided(endpoint)) return Judge::Verdict::alive;
    return Judge::Verdict::lost;
  }
  if (process_vanished(owner.pid())) return Judge::Verdict::lost;
  if (claims_->undecided(endpoint)) return std::nullopt;
  return Judge::Verdict::lost;
}

// Somebody waits for these endings and nobody else may ever ask: look at those whose node is gone.
void Agent::judge_awaited() {
  bool any = false;
  for (const Known& endpoint : cache_->awaited_endings()) {
    const auto& owner = endpoint->record.owner();
    const auto* node = nodes_->find(owner.node());
    const bool as_recorded =
        node != nullptr && node->present && node->record.incarnation() == owner.node_incarnation();
    if (as_recorded || owner.node() == config_.node) continue;
    any = true;
    judge_->judge(endpoint, Clock::now() + kLocatePatience, [this](const Known& judged) {
      if (!judged->alive()) cache_->saw(judged);
    });
  }
  if (!any || awaited_timer_ != 0) return;
  awaited_timer_ = loop_->after(kAwaitedInterval, [this] {
    awaited_timer_ = 0;
    judge_awaited();
  });
}

// --- Questions ----------------------------------------------------------------------------------

void Agent::resolve(SessionNumber session, std::uint64_t number, const std::string& full_name,
                    coord::Deadline deadline) {
  const auto name = EndpointName::parse(full_name);
  if (!name) return refuse(session, number, name.error());
  dcs_->find_usable(std::string(name->dc), deadline,
                    [this, session, number, deadline,
                     plain = std::string(name->name)](const Result<std::shared_ptr<const Dc>>& dc) {
                      if (!dc) return refuse(session, number, dc.error());
                      cache_->resolve(
                          (*dc)->name, plain, session, deadline,
                          [this, session, number, dc = *dc](const Result<Known>& endpoint) {
                            reply_place(session, number, endpoint, dc);
                          });
                    });
}

void Agent::locate(SessionNumber session, std::uint64_t number, const EndpointId& id,
                   coord::Deadline deadline) {
  const auto on_record = [this, session, number, id, deadline](const std::shared_ptr<const Dc>& dc,
                                                               const Result<Known>& found) {
    if (!found) return reply_place(session, number, found, dc);
    if ((*found)->id() != id) {
      return refuse(session, number,
                    Error{Errc::not_found, "its slot has another generation", (*found)->label()});
    }
    if (!(*found)->alive()) return reply_place(session, number, found, dc);
    judge_->judge(*found, std::min(deadline, Clock::now() + kLocatePatience),
                  [this, session, number, dc](const Known& judged) {
                    if (!judged->alive()) cache_->saw(judged);
                    reply_place(session, number, judged, dc);
                  });
  };
  dcs_->find_id(id.dc, deadline,
                [this, session, number, id, deadline,
                 on_record](const Result<std::shared_ptr<const Dc>>& dc) {
                  if (!dc) return refuse(session, number, dc.error());
                  cache_->locate(
                      (*dc)->name, id.slot, session, deadline,
                      [dc = *dc, on_record](const Result<Known>& found) { on_record(dc, found); });
                });
}

void Agent::wait(SessionNumber session, std::uint64_t number, const std::string& full_name,
                 bool bound) {
  const auto name = EndpointName::parse(full_name);
  if (!name) return refuse(session, number, name.error());
  // A wait has no end of its own, so the directory's absence does not end it: it asks again.
  dcs_->find_usable(std::string(name->dc), coord::after(kLongestRequest),
                    [this, session, number, full_name, bound,
                     plain = std::string(name->name)](const Result<std::shared_ptr<const Dc>>& dc) {
                      if (sessions_->find(session) == nullptr) return;
                      if (!dc && dc.error().code == Errc::agent_unavailable) {
                        loop_->after(kAwaitedInterval, [this, session, number, full_name, bound] {
                          wait(session, number, full_name, bound);
                        });
                        return;
                      }
                      if (!dc) return refuse(session, number, dc.error());
                      if (bound) {
                        return cache_->wait_bound(
                            (*dc)->name, plain, session, number,
                            [this, session, number, dc = *dc](const Result<Known>& place) {
                              reply_place(session, number, place, dc);
                            });
                      }
                      cache_->wait_unbound((*dc)->name, plain, session, number,
                                           [this, session, number](const Result<Known>& ended) {
                                             if (!ended)
                                               return refuse(session, number, ended.error());
                                             reply_done(session, number);
                                           });
                      judge_awaited();
                    });
}

void Agent::find_dc(SessionNumber session, std::uint64_t number, const std::string& name,
                    coord::Deadline deadline) {
  dcs_->find_usable(name, deadline,
                    [this, session, number](const Result<std::shared_ptr<const Dc>>& dc) {
                      if (!dc) return refuse(session, number, dc.error());
                      wire::Response response;
                      response.set_number(number);
                      response.mutable_found_dc()->set_id((*dc)->id);
                      reply(session, response, {*dc});
                    });
}

void Agent::subscribe(SessionNumber session, const wire::Subscribe& request) {
  for (const auto& place : request.places()) {
    dcs_->find_id(place.dc(), coord::after(kSubscribeLimit),
                  [this, session, place](const Result<std::shared_ptr<const Dc>>& dc) {
                    if (dc) cache_->subscribe((*dc)->name, place, session);
                  });
  }
}

// --- Answers ------------------------------------------------------------------------------------

bool Agent::push(SessionNumber session, const KnownEndpoint& endpoint) {
  if (session == 0) return false;
  wire::Response response;
  *response.mutable_changed()->mutable_place() = endpoint.place();
  return sessions_->send(session, response);
}

void Agent::reply(SessionNumber session, wire::Response& response,
                  const std::vector<std::shared_ptr<const Dc>>& dcs) {
  Session* asker = sessions_->find(session);
  if (asker == nullptr) return;
  for (const auto& dc : dcs) {
    if (!dc->key || !asker->granted.insert(dc->id).second) continue;
    auto& grant = *response.add_dcs();
    grant.set_id(dc->id);
    grant.set_name(dc->name);
    grant.set_key(dc->key->data(), dc->key->size());
  }
  sessions_->send(session, response);
}

void Agent::reply_place(SessionNumber session, std::uint64_t number, const Result<Known>& endpoint,
                        const std::shared_ptr<const Dc>& dc) {
  if (!endpoint) return refuse(session, number, endpoint.error());
  wire::Response response;
  response.set_number(number);
  *response.mutable_place() = (*endpoint)->place();
  reply(session, response, {dc});
}

void Agent::reply_done(SessionNumber session, std::uint64_t number) {
  wire::Response response;
  response.set_number(number);
  response.mutable_done();
  sessions_->send(session, response);
}

std::function<void(Result<void>)> Agent::answer_done(SessionNumber session, std::uint64_t number) {
  return [this, session, number](const Result<void>& done) {
    done ? reply_done(session, number) : refuse(session, number, done.error());
  };
}

void Agent::refuse(SessionNumber session, std::uint64_t number, const Error& error) {
  wire::Response response;
  response.set_number(number);
  *response.mutable_failure() = to_failure(error);
  sessions_->send(session, response);
}

}  // namespace godwit::node
