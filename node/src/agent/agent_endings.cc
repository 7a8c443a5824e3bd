// How endpoints of this node's processes end: unbound, or with their process.
#include <spdlog/spdlog.h>

#include <utility>

#include "agent/agent.h"
#include "agent/errors.h"

namespace godwit::node {

void Agent::detach(SessionNumber session, std::uint64_t number, std::uint64_t process) {
  // Answered once the names are free.
  auto left = std::make_shared<std::size_t>(1);
  const auto done = [this, left, session, number] {
    if (--*left == 0) reply_done(session, number);
  };
  if (Process* owner = processes_->find(process)) {
    for (const auto& [id, held] : owner->held) {
      if (held.endpoint->dc.empty()) continue;
      ++*left;
      if (!mover_->may_have_left(process, id)) {
        cache_->saw(held.endpoint->with_state(coord::proto::UNBOUND));
      }
      reaper_->add(held.endpoint->dc, id, process, Reaper::End::unbound, done);
    }
    owner->held.clear();
    owner->session = 0;  // It reads the answer; its end is not to be pushed to it.
  }
  processes_->detach(process);
  done();
}

void Agent::on_process_gone(Process& process, ProcessEnd end) {
  const bool died = end == ProcessEnd::died;
  if (!process.held.empty() || died) {
    spdlog::info("process {} ({}) {}; {} endpoints", process.pid, process.program,
                 died ? "is gone" : "detached", process.held.size());
  }
  for (const auto& [id, held] : process.held) {
    // A claim that was never confirmed has no DC's name; the sweep finds its record.
    if (held.endpoint->dc.empty()) {
      claims_->sweep_later();
      continue;
    }
    // Of one that may be another's by now, the directory's record alone tells.
    if (!mover_->may_have_left(process.number, id)) {
      cache_->saw(held.endpoint->with_state(died ? coord::proto::DEAD : coord::proto::UNBOUND));
    }
    reaper_->add(held.endpoint->dc, id, process.number,
                 died ? Reaper::End::dead : Reaper::End::unbound);
  }
  run_.remove_files_of(process.number);
  membership_->load_changed();
  mover_->on_process_gone(process.number);
  // A forked child may hold the connection of a dead process open.
  if (process.session != 0) sessions_->close(process.session);
}

void Agent::unbind(SessionNumber session, std::uint64_t number, Process& process,
                   const EndpointId& id, coord::Deadline deadline) {
  const auto held = process.held.find(id);
  if (held == process.held.end()) {
    return refuse(session, number,
                  Error{Errc::not_found, "this process does not hold the endpoint",
                        std::to_string(id.dc) + ":" + std::to_string(id.slot) + "." +
                            std::to_string(id.generation)});
  }
  const Known endpoint = held->second.endpoint;
  directory_->unbind(
      endpoint->dc, id.slot, id.generation, process.number, deadline,
      on_loop<void>(*loop_, lifetime_,
                    [this, session, number, endpoint, deadline,
                     owner = process.number](coord::Result<void> unbound) {
                      if (!unbound && unbound.error().code != coord::Errc::endpoint_stale) {
                        return refuse(session, number,
                                      to_error(unbound.error(), endpoint->label()));
                      }
                      if (unbound) return this->unbound(session, number, endpoint, owner);
                      unbind_refused(session, number, endpoint, owner, deadline);
                    }));
}

void Agent::unbound(SessionNumber session, std::uint64_t number, const Known& endpoint,
                    std::uint64_t process) {
  if (Process* former = processes_->find(process)) former->held.erase(endpoint->id());
  membership_->load_changed();
  cache_->saw(endpoint->with_state(coord::proto::UNBOUND));
  reply_done(session, number);
}

// It is over already, or a move has it.
void Agent::unbind_refused(SessionNumber session, std::uint64_t number, const Known& endpoint,
                           std::uint64_t process, coord::Deadline deadline) {
  directory_->get_endpoint(
      endpoint->dc, endpoint->record.slot(), deadline,
      on_loop<coord::EndpointEntry>(
          *loop_, lifetime_,
          [this, session, number, endpoint, process](coord::Result<coord::EndpointEntry> entry) {
            const Known now = entry ? make_known(endpoint->dc, std::move(entry->record)) : nullptr;
            const bool same = now && now->id() == endpoint->id() && now->alive();
            if (!same) return unbound(session, number, endpoint, process);
            if (now->record.owner().process() == process) {
              return refuse(
                  session, number,
                  Error{Errc::would_block, "it is being moved: unbind it when the move has ended",
                        endpoint->label()});
            }
            // The new owner's affair.
            if (Process* former = processes_->find(process)) former->held.erase(endpoint->id());
            reply_done(session, number);
          }));
}

}  // namespace godwit::node
