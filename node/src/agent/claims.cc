#include "agent/claims.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "agent/errors.h"

namespace godwit::node {

namespace {
using namespace std::chrono_literals;
constexpr std::size_t kMaxInFlight = 1024;
constexpr auto kStepLimit = 10s;
constexpr auto kRetry = 500ms;
constexpr auto kSweepLimit = 60s;
constexpr auto kSweepLater = 2s;
constexpr int kAttempts = 8;

Known from_claim(const endpoints::proto::Place& place, const std::string* dc_name) {
  KnownEndpoint known;
  const auto slash = place.name().find('/');
  if (slash != std::string::npos) {
    known.dc = place.name().substr(0, slash);
    known.record.set_name(place.name().substr(slash + 1));
  } else if (dc_name != nullptr) {
    known.dc = *dc_name;
  }
  known.record.set_dc(place.dc());
  known.record.set_slot(place.slot());
  known.record.set_generation(place.generation());
  known.record.set_lineage(place.lineage());
  known.record.set_epoch(place.epoch());
  known.record.set_state(coord::proto::SERVING);
  known.record.set_engine_address(place.engine_address());
  return std::make_shared<const KnownEndpoint>(std::move(known));
}

bool is_alive(const coord::proto::EndpointRecord& record) {
  return record.state() == coord::proto::SERVING || record.state() == coord::proto::MOVING;
}

// Anything else will be the same at the next try: what a process claims may be any nonsense.
bool passes_with_time(Errc code) {
  return code == Errc::agent_unavailable || code == Errc::no_space || code == Errc::system;
}
}  // namespace

Claims::Claims(EventLoop& loop, coord::Directory& directory, DcTable& dcs, ProcessTable& processes,
               Reaper& reaper, std::string node, std::uint64_t incarnation,
               std::chrono::milliseconds grace, Lost lost)
    : loop_(loop),
      directory_(directory),
      dcs_(dcs),
      processes_(processes),
      reaper_(reaper),
      node_(std::move(node)),
      incarnation_(incarnation),
      grace_(grace),
      lost_(std::move(lost)) {}

Claims::~Claims() {
  loop_.cancel(retry_);
  loop_.cancel(sweep_timer_);
  loop_.cancel(bury_timer_);
}

// --- Claims of processes ------------------------------------------------------------------------

void Claims::claim(Process& process, const endpoints::proto::Claim& claim) {
  for (const auto& place : claim.endpoints()) {
    const EndpointId id = id_of(place);
    auto [held, fresh] = process.held.try_emplace(id);
    held->second.delivered = true;
    if (!fresh) continue;
    held->second.endpoint = from_claim(place, dcs_.name_of(place.dc()));
    queue_.push_back({process.number, id});
  }
  if (claim.last() && process.claiming) {
    process.claiming = false;
    undelivered_after_claims(process);
  }
  pump();
}

// What was bound for the process on its former connection, and never reached it: a repeated bind
// will ask for it soon, or nobody ever will.
void Claims::undelivered_after_claims(Process& process) {
  std::vector<EndpointId> undelivered;
  for (const auto& [id, held] : process.held) {
    if (!held.delivered) undelivered.push_back(id);
  }
  if (undelivered.empty()) return;
  loop_.after(grace_, [this, alive = lifetime_.token(), number = process.number, undelivered] {
    Process* owner = *alive ? processes_.find(number) : nullptr;
    if (owner == nullptr) return;
    for (const EndpointId& id : undelivered) {
      const auto held = owner->held.find(id);
      if (held == owner->held.end() || held->second.delivered) continue;
      reaper_.add(held->second.endpoint->dc, id, number, Reaper::End::unbound);
      owner->held.erase(held);
    }
  });
}

void Claims::reclaim_all() {
  processes_.for_each([this](Process& process) {
    for (const auto& [id, held] : process.held) queue_.push_back({process.number, id});
  });
  pump();
}

void Claims::confirm_again(std::uint64_t process, const EndpointId& id) {
  queue_.push_back({process, id});
  pump();
}

void Claims::on_connected() {
  loop_.cancel(retry_);
  pump();
}

void Claims::pause() {
  if (retry_ != 0) return;
  retry_ = loop_.after(kRetry, [this] {
    retry_ = 0;
    pump();
  });
}

void Claims::pump() {
  while (retry_ == 0 && in_flight_ < kMaxInFlight && !queue_.empty()) {
    const Confirmation item = queue_.front();
    queue_.pop_front();
    confirm(item);
  }
}

void Claims::confirm(const Confirmation& item) {
  Process* process = processes_.find(item.process);
  if (process == nullptr) return;
  const auto held = process->held.find(item.id);
  if (held == process->held.end()) return;
  ++in_flight_;
  if (const std::string dc = held->second.endpoint->dc; !dc.empty()) return confirm_in(item, dc);
  dcs_.find_id(item.id.dc, coord::after(kStepLimit),
               [this, item, alive = lifetime_.token()](Result<std::shared_ptr<const Dc>> dc) {
                 if (!*alive) return;
                 if (!dc) return confirmed(item, tl::make_unexpected(std::move(dc.error())));
                 confirm_in(item, (*dc)->name);
               });
}

void Claims::confirm_in(const Confirmation& item, const std::string& dc) {
  Process* process = processes_.find(item.process);
  const auto held =
      process == nullptr ? decltype(process->held.end()){} : process->held.find(item.id);
  if (process == nullptr || held == process->held.end()) {
    --in_flight_;
    return pump();
  }
  if (held->second.endpoint->dc.empty()) {
    auto named = std::make_shared<KnownEndpoint>(*held->second.endpoint);
    named->dc = dc;
    held->second.endpoint = std::move(named);
  }
  reclaim(held->second.endpoint, item.process, coord::after(kStepLimit),
          [this, item](Result<Known> result) { confirmed(item, std::move(result)); });
}

void Claims::confirmed(const Confirmation& item, Result<Known> result) {
  --in_flight_;
  Process* process = processes_.find(item.process);
  if (process != nullptr) {
    const auto held = process->held.find(item.id);
    if (held == process->held.end()) {
      // Unbound meanwhile.
    } else if (result) {
      held->second.endpoint = *result;
    } else if (result.error().code == Errc::moved) {
      // No loss: the process hears of it as a part of the move that took the endpoint.
      spdlog::info("process {} no longer holds {}: {}", process->pid,
                   held->second.endpoint->label(), result.error().message);
      process->held.erase(held);
    } else if (!passes_with_time(result.error().code)) {
      const Known gone = held->second.endpoint->with_state(coord::proto::DEAD);
      process->held.erase(held);
      spdlog::warn("process {} no longer holds {}: {}", process->pid, gone->label(),
                   result.error().message);
      lost_(*process, *gone);
    } else {
      queue_.push_back(item);
      pause();
    }
  }
  pump();
}

void Claims::reclaim(const Known& endpoint, std::uint64_t process, coord::Deadline deadline,
                     Reclaimed done) {
  reclaim_attempt(endpoint, process, deadline, kAttempts, std::move(done));
}

void Claims::reclaim_attempt(Known endpoint, std::uint64_t process, coord::Deadline deadline,
                             int attempts, Reclaimed done) {
  const auto& record = endpoint->record;
  auto on_record = [this, endpoint, process, deadline, attempts,
                    done](coord::Result<coord::EndpointEntry> entry) {
    if (!entry) return done(tl::make_unexpected(to_error(entry.error(), endpoint->label())));
    const auto& found = entry->record;
    const bool ours = found.generation() == endpoint->record.generation() && is_alive(found) &&
                      found.owner().node() == node_ && found.owner().process() == process;
    const bool left = is_alive(found) && found.generation() == endpoint->record.generation() &&
                      found.owner().process() != process;
    if (left) {
      return done(fail(Errc::moved, "it is served on node " + found.owner().node() + " now",
                       endpoint->label()));
    }
    if (!ours) {
      return done(fail(Errc::not_found, "the directory says that it is over", endpoint->label()));
    }
    const std::string& address = endpoint->record.engine_address();
    if (found.owner().node_incarnation() == incarnation_ && found.engine_address() == address) {
      return done(make_known(endpoint->dc, std::move(entry->record)));
    }
    entry->record.mutable_owner()->set_node_incarnation(incarnation_);
    entry->record.set_engine_address(address);
    directory_.update_endpoint(
        endpoint->dc, std::move(*entry), std::nullopt, deadline,
        on_loop<coord::EndpointEntry>(
            loop_, lifetime_,
            [this, endpoint, process, deadline, attempts,
             done](coord::Result<coord::EndpointEntry> updated) {
              if (updated) {
                done(make_known(endpoint->dc, std::move(updated->record)));
              } else if (updated.error().code == coord::Errc::bad_version && attempts > 0) {
                reclaim_attempt(endpoint, process, deadline, attempts - 1, done);
              } else {
                done(tl::make_unexpected(to_error(updated.error(), endpoint->label())));
              }
            }));
  };
  directory_.get_endpoint(endpoint->dc, record.slot(), deadline,
                          on_loop<coord::EndpointEntry>(loop_, lifetime_, std::move(on_record)));
}

// --- Records of this node -----------------------------------------------------------------------

void Claims::sweep_later() {
  if (sweep_timer_ != 0) return;
  sweep_timer_ = loop_.after(kSweepLater, [this] {
    sweep_timer_ = 0;
    sweep();
  });
}

void Claims::sweep() {
  if (std::exchange(sweeping_, true)) return sweep_later();
  directory_.list_dcs(coord::after(kSweepLimit),
                      on_loop<std::vector<coord::DcEntry>>(
                          loop_, lifetime_, [this](coord::Result<std::vector<coord::DcEntry>> dcs) {
                            if (!dcs) return sweep_done(false);
                            std::vector<std::string> names;
                            for (const auto& dc : *dcs) names.push_back(dc.record.name());
                            sweep_dcs(std::move(names));
                          }));
}

void Claims::sweep_dcs(std::vector<std::string> names) {
  if (names.empty()) return sweep_done(true);
  const std::string dc = std::move(names.back());
  names.pop_back();
  directory_.list_endpoints(
      dc, coord::after(kSweepLimit),
      on_loop<std::vector<coord::EndpointEntry>>(
          loop_, lifetime_,
          [this, dc, names = std::move(names)](
              coord::Result<std::vector<coord::EndpointEntry>> entries) mutable {
            // A DC that was removed meanwhile has no endpoints to care for.
            if (!entries && entries.error().code != coord::Errc::dc_unknown) {
              return sweep_done(false);
            }
            if (entries) {
              for (const auto& entry : *entries) take_record(dc, entry.record);
            }
            sweep_dcs(std::move(names));
          }));
}

void Claims::take_record(const std::string& dc, const coord::proto::EndpointRecord& record) {
  if (record.owner().node() != node_) return;
  if (!is_alive(record)) return;
  const std::uint64_t number = record.owner().process();
  const EndpointId id{record.dc(), record.slot(), record.generation()};
  const Process* process = processes_.find(number);
  if (process != nullptr && process->held.contains(id)) return;
  if (process == nullptr && process_vanished(record.owner().pid())) {
    reaper_.add(dc, id, number, Reaper::End::dead);
    return;
  }
  auto& list = leftovers_[number];
  const bool known =
      std::any_of(list.begin(), list.end(), [&](const Known& each) { return each->id() == id; });
  if (!known) list.push_back(make_known(dc, record));
}

void Claims::sweep_done(bool complete) {
  sweeping_ = false;
  if (!complete) return sweep_later();
  swept_ = true;
  for (auto& task : std::exchange(waiting_, {})) task();
  if (!leftovers_.empty() && bury_timer_ == 0) {
    bury_timer_ = loop_.after(grace_, [this] {
      bury_timer_ = 0;
      bury_leftovers();
    });
  }
}

void Claims::bury_leftovers() {
  std::size_t buried = 0;
  std::map<std::uint64_t, std::vector<Known>> undecided;
  for (auto& [number, list] : std::exchange(leftovers_, {})) {
    const Process* process = processes_.find(number);
    // A record read while its bind was under way is held by now, or will be.
    // A process that comes into a group is granted it only once it has said that it is there.
    const bool busy = process != nullptr && (process->claiming || process->binds_in_flight > 0 ||
                                             (unsettled_ && unsettled_(number)));
    for (const Known& endpoint : list) {
      if (process != nullptr && process->held.contains(endpoint->id())) continue;
      if (busy) {
        undecided[number].push_back(endpoint);
        continue;
      }
      reaper_.add(endpoint->dc, endpoint->id(), number, Reaper::End::dead);
      ++buried;
    }
  }
  if (buried > 0) spdlog::info("marked {} endpoints dead that no process came back for", buried);
  leftovers_ = std::move(undecided);
  if (!leftovers_.empty()) {
    bury_timer_ = loop_.after(std::max<std::chrono::milliseconds>(grace_, 100ms), [this] {
      bury_timer_ = 0;
      bury_leftovers();
    });
  }
}

void Claims::when_swept(coord::Deadline deadline, std::function<void()> task) {
  if (swept_) return task();
  auto once = std::make_shared<std::function<void()>>(std::move(task));
  const auto run = [once, alive = lifetime_.token()] {
    if (*alive && *once) std::exchange(*once, nullptr)();
  };
  waiting_.push_back(run);
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now());
  loop_.after(std::max(left, 0ms), run);
}

Known Claims::adopt(std::uint64_t process, const std::string& dc, const std::string& name,
                    const std::string& engine_address) {
  const auto found = leftovers_.find(process);
  if (found == leftovers_.end()) return nullptr;
  // A record may have been found before the process came back and claimed it.
  const Process* owner = processes_.find(process);
  auto& list = found->second;
  const auto match = std::find_if(list.begin(), list.end(), [&](const Known& each) {
    return each->dc == dc && each->record.name() == name &&
           (!name.empty() || each->record.engine_address() == engine_address) &&
           (owner == nullptr || !owner->held.contains(each->id()));
  });
  if (match == list.end()) return nullptr;
  Known adopted = std::move(*match);
  list.erase(match);
  return adopted;
}

bool Claims::undecided(const KnownEndpoint& endpoint) const {
  if (!swept_) return true;
  const auto found = leftovers_.find(endpoint.record.owner().process());
  return found != leftovers_.end() &&
         std::any_of(found->second.begin(), found->second.end(),
                     [&](const Known& each) { return each->id() == endpoint.id(); });
}

}  // namespace godwit::node
