#include "agent/binder.h"

#include <algorithm>

#include "agent/errors.h"
#include "godwit/agent_protocol.h"
#include "godwit/fabric/address.h"

namespace godwit::node {

namespace {
using namespace std::chrono_literals;
// A name changes hands between two of our looks at most this often before we give up.
constexpr int kAttempts = 3;
constexpr auto kJudgePatience = 1500ms;

std::string full_name(const endpoints::proto::BindItem& item) {
  return item.name().empty() ? item.dc() : item.dc() + "/" + item.name();
}

Result<void> check(const endpoints::proto::Bind& request) {
  if (static_cast<std::size_t>(request.items_size()) > agent_protocol::kMaxBatch) {
    return fail(Errc::too_large, "a bind names more than " +
                                     std::to_string(agent_protocol::kMaxBatch) + " endpoints");
  }
  for (const auto& address : request.engine_addresses()) {
    if (address.size() > fabric::EngineAddress::kMaxBlob) {
      return fail(Errc::too_large, "an engine's address is longer than " +
                                       std::to_string(fabric::EngineAddress::kMaxBlob) + " bytes");
    }
  }
  for (const auto& item : request.items()) {
    if (item.engine_address() >= static_cast<std::uint32_t>(request.engine_addresses_size())) {
      return fail(Errc::invalid_argument, "a bind refers to an engine's address that it lacks");
    }
  }
  return {};
}
}  // namespace

Binder::Binder(EventLoop& loop, coord::Directory& directory, DcTable& dcs, ProcessTable& processes,
               Claims& claims, Judge& judge, Reaper& reaper, std::string node,
               std::uint64_t incarnation, Reply reply)
    : loop_(loop),
      directory_(directory),
      dcs_(dcs),
      processes_(processes),
      claims_(claims),
      judge_(judge),
      reaper_(reaper),
      node_(std::move(node)),
      incarnation_(incarnation),
      reply_(std::move(reply)) {}

void Binder::bind(Process& process, SessionNumber session, std::uint64_t number,
                  const endpoints::proto::Bind& request, coord::Deadline deadline) {
  const std::pair key(process.number, request.nonce());
  if (const auto same = jobs_.find(key); same != jobs_.end()) {
    same->second->session = session;
    same->second->number = number;
    return;
  }
  auto job = std::make_shared<Job>();
  job->process = process.number;
  job->session = session;
  job->number = number;
  job->request = request;
  job->deadline = deadline;
  if (auto valid = check(request); !valid) {
    job->response.set_number(number);
    *job->response.mutable_failure() = to_failure(valid.error());
    return reply_(session, job->response, {});
  }
  jobs_.emplace(key, job);
  ++process.binds_in_flight;
  for (int i = 0; i < request.items_size(); ++i) job->response.mutable_bind()->add_results();
  // One more than the items: the job must not end while they are being started.
  job->unanswered = static_cast<std::size_t>(request.items_size()) + 1;
  if (!request.repeated()) return start(job);
  // What an agent before this one did of it is known only after the sweep.
  claims_.when_swept(deadline, [this, job, alive = lifetime_.token()] {
    if (*alive) start(job);
  });
}

void Binder::start(const JobPtr& job) {
  job->response.mutable_bind();
  if (Process* process = processes_.find(job->process);
      process != nullptr && job->request.repeated()) {
    std::map<std::uint32_t, HeldEndpoint*> done_before;
    for (auto& [id, held] : process->held) {
      if (held.nonce == job->request.nonce()) done_before[held.index] = &held;
    }
    for (int i = 0; i < job->request.items_size(); ++i) {
      const auto done = done_before.find(static_cast<std::uint32_t>(i));
      if (done == done_before.end()) {
        start_item(job, i);
        continue;
      }
      HeldEndpoint& held = *done->second;
      held.delivered = true;
      const Known endpoint = held.endpoint;
      dcs_.find(endpoint->dc, job->deadline,
                [this, job, i, endpoint](const Result<std::shared_ptr<const Dc>>& dc) {
                  if (dc) job->dcs.push_back(*dc);
                  bound(job, i, endpoint);
                });
    }
  } else {
    for (int i = 0; i < job->request.items_size(); ++i) start_item(job, i);
  }
  item_done(job);
}

const std::string& Binder::engine_address(const Job& job, int index) const {
  return job.request.engine_addresses(static_cast<int>(job.request.items(index).engine_address()));
}

void Binder::start_item(const JobPtr& job, int index) {
  dcs_.find_usable(job->request.items(index).dc(), job->deadline,
                   [this, job, index](const Result<std::shared_ptr<const Dc>>& dc) {
                     if (!dc) return failed(job, index, dc.error());
                     if (job->dcs.empty() || job->dcs.back() != *dc) job->dcs.push_back(*dc);
                     if (job->request.repeated()) {
                       const auto& item = job->request.items(index);
                       const Known left = claims_.adopt(job->process, item.dc(), item.name(),
                                                        engine_address(*job, index));
                       if (left) return reclaim(job, index, left);
                     }
                     bind_item(job, index, kAttempts);
                   });
}

void Binder::bind_item(const JobPtr& job, int index, int attempts) {
  const Process* process = processes_.find(job->process);
  const auto& item = job->request.items(index);
  coord::BindRequest request;
  request.dc = item.dc();
  request.name = item.name();
  request.owner.set_node(node_);
  request.owner.set_node_incarnation(incarnation_);
  request.owner.set_process(job->process);
  request.owner.set_pid(process == nullptr ? 0 : process->pid);
  request.engine_address = engine_address(*job, index);
  request.program = item.program();
  directory_.bind(
      std::move(request), job->deadline,
      on_loop<coord::EndpointEntry>(
          loop_, lifetime_,
          [this, job, index, attempts](coord::Result<coord::EndpointEntry> entry) {
            if (entry) {
              bound(job, index,
                    make_known(job->request.items(index).dc(), std::move(entry->record)));
            } else if (entry.error().code == coord::Errc::name_taken && attempts > 0) {
              taken(job, index, attempts, entry.error());
            } else {
              // It may have been bound all the same: then nobody knows of it but the directory.
              if (entry.error().code == coord::Errc::deadline ||
                  entry.error().code == coord::Errc::outcome_unknown) {
                claims_.sweep_later();
              }
              failed(job, index, to_error(entry.error(), full_name(job->request.items(index))));
            }
          }));
}

// The name's owner may be this very process, by a bind whose answer was lost, or may be lost
// itself.
void Binder::taken(const JobPtr& job, int index, int attempts, const coord::Error& error) {
  const auto& item = job->request.items(index);
  directory_.resolve(
      item.dc(), item.name(), job->deadline,
      on_loop<coord::EndpointEntry>(
          loop_, lifetime_,
          [this, job, index, attempts, error](coord::Result<coord::EndpointEntry> entry) {
            const auto& asked = job->request.items(index);
            if (!entry && entry.error().code == coord::Errc::name_unknown) {
              return bind_item(job, index, attempts - 1);
            }
            if (!entry) return failed(job, index, to_error(entry.error(), full_name(asked)));
            const Known owner = make_known(asked.dc(), std::move(entry->record));
            if (!owner->alive()) return bind_item(job, index, attempts - 1);
            const Process* process = processes_.find(job->process);
            if (job->request.repeated() && owner->record.owner().process() == job->process &&
                process != nullptr && !process->held.contains(owner->id())) {
              return reclaim(job, index, owner);
            }
            const auto patience = std::min(job->deadline, Clock::now() + kJudgePatience);
            judge_.judge(owner, patience, [this, job, index, attempts](const Known& judged) {
              if (!judged->alive()) return bind_item(job, index, attempts - 1);
              const auto& holder = judged->record.owner();
              failed(job, index,
                     Error{Errc::name_taken,
                           "it is bound by process " + std::to_string(holder.pid()) + " on node " +
                               holder.node(),
                           full_name(job->request.items(index))});
            });
          }));
}

void Binder::reclaim(const JobPtr& job, int index, const Known& endpoint) {
  auto wanted = std::make_shared<KnownEndpoint>(*endpoint);
  wanted->record.set_engine_address(engine_address(*job, index));
  claims_.reclaim(wanted, job->process, job->deadline, [this, job, index](Result<Known> reclaimed) {
    if (reclaimed) return bound(job, index, *reclaimed);
    if (reclaimed.error().code == Errc::not_found) return bind_item(job, index, 0);
    failed(job, index, reclaimed.error());
  });
}

void Binder::bound(const JobPtr& job, int index, const Known& endpoint) {
  Process* process = processes_.find(job->process);
  if (process == nullptr) {
    // It ended while its bind was under way.
    reaper_.add(endpoint->dc, endpoint->id(), job->process, Reaper::End::dead);
  } else {
    auto& held = process->held[endpoint->id()];
    held.endpoint = endpoint;
    held.nonce = job->request.nonce();
    held.index = static_cast<std::uint32_t>(index);
  }
  auto& place = *job->response.mutable_bind()->mutable_results(index)->mutable_place();
  place = endpoint->place();
  place.clear_engine_address();
  item_done(job);
}

void Binder::failed(const JobPtr& job, int index, const Error& error) {
  auto& failure = *job->response.mutable_bind()->mutable_results(index)->mutable_failure();
  failure = to_failure(error);
  if (failure.endpoint().empty()) failure.set_endpoint(full_name(job->request.items(index)));
  item_done(job);
}

void Binder::item_done(const JobPtr& job) {
  if (--job->unanswered != 0) return;
  jobs_.erase({job->process, job->request.nonce()});
  // A process that was given up and came back starts to count anew.
  Process* process = processes_.find(job->process);
  if (process != nullptr && process->binds_in_flight > 0) --process->binds_in_flight;
  job->response.set_number(job->number);
  reply_(job->session, job->response, job->dcs);
}

}  // namespace godwit::node
