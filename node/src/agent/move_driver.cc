#include "agent/move_driver.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "agent/errors.h"
#include "godwit/migrate/fault_points.h"

namespace godwit::node {

namespace {

using namespace std::chrono_literals;
using migrate::AgentAction;
using migrate::Reason;
using migrate::Report;

constexpr auto kReadLimit = 10s;
constexpr auto kLookAgain = 200ms;
constexpr auto kSettled = 5ms;

}  // namespace

MoveDriver::MoveDriver(const MoveParts& parts, MoveReader& reader, MoveWriter& writer, Role role,
                       coord::proto::MigrationRecord record, Hooks hooks)
    : parts_(parts), reader_(reader), writer_(writer), role_(role), hooks_(std::move(hooks)) {
  reading_.entry.record = std::move(record);
  const migrate::Limits& limits = parts.limits;
  if (role_ == Role::source) {
    source_.emplace(reading_.record().source().process(), limits, Clock::now());
  } else {
    target_.emplace(limits, Clock::now());
  }
}

MoveDriver::~MoveDriver() {
  parts_.loop.cancel(deadline_timer_);
  parts_.loop.cancel(absence_timer_);
  parts_.loop.cancel(look_timer_);
  parts_.loop.cancel(progress_timer_);
}

migrate::ProcessId MoveDriver::process() const noexcept {
  return source_ ? source_->process() : target_->process();
}

bool MoveDriver::wants_process() const noexcept {
  return target_ && !finished_ && target_->process() == 0 &&
         target_->state() == migrate::TargetAgent::State::preparing;
}

bool MoveDriver::granted() const noexcept {
  return target_ && reading_.ended && process() != 0 && reading_.view().owner == process();
}

bool MoveDriver::has_member(std::uint32_t slot, std::uint32_t generation) const {
  const auto& members = record().members();
  return std::any_of(members.begin(), members.end(), [&](const auto& member) {
    return member.slot() == slot && member.generation() == generation;
  });
}

bool MoveDriver::may_have_left(const EndpointId& id) const {
  if (!source_ || !has_member(id.slot, id.generation)) return false;
  // The endpoints' own DC is not in the record; slot and generation of one process say enough.
  return reading_.ended || writing_ || reading_.view().phase == migrate::Phase::moving;
}

// --- Readings -----------------------------------------------------------------------------------

void MoveDriver::begin() {
  const auto now = Clock::now();
  if (target_ && record().target_incarnation() != parts_.incarnation) {
    perform(target_->on_fenced(now));
  }
  refresh();
}

void MoveDriver::refresh() {
  if (finished_) return;
  if (reading_now_ || writing_) {
    again_ = true;
    return;
  }
  parts_.loop.cancel(look_timer_);
  reading_now_ = true;
  again_ = false;
  coord::Watcher watcher;
  if (!std::exchange(armed_, true)) {
    watcher = watcher_on_loop(parts_.loop, lifetime_, [this] {
      armed_ = false;
      // What was written in the blackout was written by the two agents, who know it; they have
      // better to do until the server serves again.
      in_blackout() ? look_later(kSettled) : refresh();
    });
  }
  auto on_reading = [this, alive = lifetime_.token(),
                     writes = writes_](coord::Result<MoveReading> reading) {
    if (!*alive) return;
    reading_now_ = false;
    if (!reading) {
      armed_ = false;
      again_ = true;
    } else if (writes == writes_) {
      return take(std::move(*reading));
    }
    // Of before a write, or none at all. The write's end looks again by itself.
    if (!writing_) reading ? refresh() : look_later(kLookAgain);
  };
  reader_.read(record(), coord::after(kReadLimit), std::move(watcher), std::move(on_reading));
}

/// Between the intent and the end, or about to be.
bool MoveDriver::in_blackout() const {
  if (!has_read_ || reading_.ended) return false;
  const migrate::Phase phase = reading_.view().phase;
  return phase == migrate::Phase::moving || (target_ && phase == migrate::Phase::prepared);
}

void MoveDriver::look_later(std::chrono::milliseconds delay) {
  if (look_timer_ != 0) return;
  look_timer_ = parts_.loop.after(delay, [this] {
    look_timer_ = 0;
    refresh();
  });
}

void MoveDriver::take(MoveReading reading) {
  has_read_ = true;
  reading_ = std::move(reading);
  if (reading_.ended) ended();
  const auto view = reading_.view();
  const auto now = Clock::now();
  perform(source_ ? source_->on_record(view, now) : target_->on_record(view, now));
  check_process();
  check_target();
  if (again_) refresh();
}

// --- What happens -------------------------------------------------------------------------------

void MoveDriver::on_report(migrate::ProcessId process, const endpoints::proto::MoveReport& report) {
  if (finished_ || (source_ && process != source_->process())) return;
  auto kind = static_cast<Report>(report.report());
  auto reason = static_cast<Reason>(report.reason());
  // Only of the process that counts: another one's dock is not this move's.
  if (source_ || target_->process() == 0 || target_->process() == process) take_report(report);
  if (target_ && kind == Report::docked && report.dock().generation() == 0) {
    kind = Report::cannot;
    reason = Reason::start_failed;
    detail_ = "the process did not say where its dock is";
  }
  if (target_) take_intent(report.intent());
  spdlog::debug("move {}: process {:016x} says {}{}", coord::format_move_id(id()), process,
                migrate::to_string(kind), detail_.empty() ? "" : ": " + detail_);
  const auto now = Clock::now();
  perform(source_ ? source_->on_report(kind, reason, now)
                  : target_->on_report(process, kind, reason, now));
  check_process();
}

/// The source's agent has written the intent and said so with the state. Should it not be true, or
/// not any more, the commit fails at its versions.
void MoveDriver::take_intent(const std::string& intent) {
  if (!has_read_ || reading_.ended || writing_) return;
  if (reading_.view().phase != migrate::Phase::prepared) return;
  auto written = parsed_intent(intent, reading_);
  if (!written) return;
  ++writes_;  // what is being read may be from before
  reading_ = std::move(*written);
  perform(target_->on_record(reading_.view(), Clock::now()));
}

void MoveDriver::take_report(const endpoints::proto::MoveReport& report) {
  if (report.has_dock()) {
    dock_.set_dc(report.dock().dc());
    dock_.set_slot(report.dock().slot());
    dock_.set_generation(report.dock().generation());
  }
  if (report.engine_addresses_size() > 0) {
    engine_addresses_.assign(report.engine_addresses().begin(), report.engine_addresses().end());
  }
  if (!report.text().empty()) detail_ = report.text();
  if (report.has_times()) times_.MergeFrom(times_of(report.times()));
  if (report.has_progress() && source_) {
    progress_ = progress_of(report.progress());
    write_progress();
  }
}

void MoveDriver::on_idle(migrate::ProcessId process) {
  if (finished_ || !target_) return;
  perform(target_->on_report(process, Report::over, Reason::none, Clock::now()));
  check_process();
}

void MoveDriver::on_start_failed(std::string why) {
  if (finished_ || !target_) return;
  detail_ = std::move(why);
  perform(target_->on_start_failed(Clock::now()));
}

// What it was told may have been lost with its connection. What it is in, it says by itself.
void MoveDriver::on_attached(migrate::ProcessId process) {
  if (finished_ || !has_read_ || process != this->process()) return;
  check_process();
  if (reading_.ended) {
    if (target_) adopt_members();
    if (last_push_ && last_push_->process == process) push(*last_push_);
  } else if (source_) {
    perform(source_->on_report(Report::unknown, Reason::none, Clock::now()));
  } else if (reading_.view().phase == migrate::Phase::planned) {
    perform(target_->on_report(process, Report::over, Reason::none, Clock::now()));
  }
}

void MoveDriver::on_process_lost(migrate::ProcessId process) {
  if (!finished_ && process == this->process()) lose_process(process);
}

void MoveDriver::lose_process(migrate::ProcessId process) {
  lost_ = process;
  parts_.loop.cancel(absence_timer_);
  if (target_ && reading_.ended) adopt_members();
  perform(source_ ? source_->on_process_lost(Clock::now())
                  : target_->on_process_lost(process, Clock::now()));
}

// A process that should be here and is not attached has its time to come back, as after a restart
// of the agent; then it counts as lost.
void MoveDriver::check_process() {
  const migrate::ProcessId expected = process();
  if (finished_ || expected == 0) return;
  if (parts_.processes.find(expected) != nullptr) return parts_.loop.cancel(absence_timer_);
  if (lost_ == expected || absence_timer_ != 0) return;
  if (source_ && process_vanished(record().source().pid())) return lose_process(expected);
  absence_timer_ = parts_.loop.after(parts_.reattach_grace, [this, expected] {
    absence_timer_ = 0;
    if (parts_.processes.find(expected) == nullptr) on_process_lost(expected);
    // The record may name another one by now.
    check_process();
  });
}

void MoveDriver::on_nodes_changed() {
  if (has_read_) check_target();
}

// The table may lag behind a target that has just registered: only a fresh reading condemns it.
void MoveDriver::check_target() {
  if (!source_ || finished_ || reading_.ended || asking_target_ || !parts_.nodes.loaded()) return;
  const std::string& name = record().target_node();
  const NodeTable::Node* node = parts_.nodes.find(name);
  if (node != nullptr && node->present &&
      node->record.incarnation() == record().target_incarnation()) {
    return;
  }
  asking_target_ = true;
  parts_.directory.get_node(
      name, coord::after(kReadLimit),
      on_loop<coord::NodeEntry>(
          parts_.loop, lifetime_, [this](coord::Result<coord::NodeEntry> entry) {
            asking_target_ = false;
            if (finished_) return;
            const bool gone = !entry && entry.error().code == coord::Errc::no_node;
            const bool another =
                entry && entry->record.incarnation() != record().target_incarnation();
            if (gone || another) perform(source_->on_target_lost(Clock::now()));
            // Not known: the next reading asks again.
            if (!entry && !gone) look_later(kLookAgain);
          }));
}

// --- What the machine wants ---------------------------------------------------------------------

void MoveDriver::perform(const migrate::AgentActions& actions) {
  for (const AgentAction& action : actions) {
    switch (action.kind) {
      case AgentAction::Kind::write:
        write(action);
        break;
      case AgentAction::Kind::push:
        push(action);
        break;
      case AgentAction::Kind::start:
        hooks_.find_process(*this);
        break;
      case AgentAction::Kind::finished:
        finished_ = true;
        save_times();
        hooks_.finished(*this);
        break;
    }
  }
  arm();
}

void MoveDriver::write(const AgentAction& action) {
  MoveWrite write;
  write.write = action.write;
  write.dock = dock_;
  write.process = action.process;
  write.progress = progress_;
  write.engine_addresses = engine_addresses_;
  write.by = parts_.node;
  if (action.write == migrate::Write::abort) {
    write.reason = migrate::to_string(action.reason);
    if (!detail_.empty()) write.reason += ": " + detail_;
  }
  write.owner.set_node(parts_.node);
  write.owner.set_node_incarnation(parts_.incarnation);
  write.owner.set_process(process());
  if (const Process* owner = parts_.processes.find(process())) write.owner.set_pid(owner->pid);
  const bool ends = action.write == migrate::Write::commit || action.write == migrate::Write::abort;
  const coord::proto::MigrationTimes times =
      ends ? std::exchange(times_, {}) : coord::proto::MigrationTimes();
  write.times = times;
  if (action.write == migrate::Write::commit && migrate::planted("grant-before-commit")) {
    push({.kind = AgentAction::Kind::push,
          .push = migrate::Push::go,
          .epoch = reading_.view().epoch + 1,
          .process = process()});
  }
  writing_ = true;
  ++writes_;
  const std::string what = "move " + coord::format_move_id(id()) + ": " + label_of(record()) +
                           ": " + migrate::to_string(action.write) +
                           (write.reason.empty() ? "" : ", " + write.reason);
  writer_.write(std::move(write), reading_,
                [this, alive = lifetime_.token(), times, what,
                 which = action.write](MoveWriter::Settled result) {
                  if (!*alive) return;
                  const bool done = result.done;
                  if (!result.done) {
                    coord::proto::MigrationTimes both = times;
                    both.MergeFrom(times_);
                    times_ = std::move(both);
                  } else if (which == migrate::Write::commit) {
                    times_.set_committed_us(static_cast<std::uint64_t>(result.took.count()));
                  }
                  settled(std::move(result));
                  // Behind what the processes are told: the log's file takes its time, too.
                  parts_.loop.post([what, done] {
                    spdlog::info("{}: {}", what, done ? "written" : "not written");
                  });
                });
}

void MoveDriver::settled(MoveWriter::Settled result) {
  writing_ = false;
  reading_ = std::move(result.reading);
  const auto now = Clock::now();
  if (result.fenced && target_) perform(target_->on_fenced(now));
  if (result.impossible) {
    // It would be asked for again for ever: the move is given up instead.
    detail_ = result.why;
    perform(source_ ? source_->on_report(Report::cannot, Reason::transfer_failed, now)
                    : target_->on_report(process(), Report::cannot, Reason::transfer_failed, now));
  }
  if (reading_.ended) ended();
  const auto view = reading_.view();
  perform(source_ ? source_->on_settled(view, now) : target_->on_settled(view, now));
  check_process();
  // At the end there is nothing new to be seen, and the server is just coming back.
  if (again_) reading_.ended ? look_later(kSettled) : refresh();
}

void MoveDriver::push(const AgentAction& action) {
  if (action.process == process()) last_push_ = action;
  endpoints::proto::MoveOrder order;
  order.set_move(id());
  order.set_push(static_cast<std::uint32_t>(action.push));
  order.set_epoch(action.epoch);
  if (action.push == migrate::Push::out) {
    order.mutable_dock()->set_dc(record().dock().dc());
    order.mutable_dock()->set_slot(record().dock().slot());
    order.mutable_dock()->set_generation(record().dock().generation());
  }
  if (action.push == migrate::Push::close) order.set_intent(packed_intent(reading_));
  if (action.push == migrate::Push::out || action.push == migrate::Push::in ||
      action.push == migrate::Push::go) {
    for (const coord::EndpointEntry& member : reading_.members) {
      auto& place = *order.add_members();
      place = KnownEndpoint{record().dc(), member.record}.place();
      place.clear_engine_address();
    }
  }
  parts_.dcs.find_usable(record().dc(), coord::after(kReadLimit),
                         [parts = &parts_, order, process = action.process,
                          alive = lifetime_.token()](const Result<std::shared_ptr<const Dc>>& dc) {
                           if (!*alive) return;
                           const Process* owner = parts->processes.find(process);
                           if (owner == nullptr || owner->session == 0) return;
                           const auto what = static_cast<migrate::Push>(order.push());
                           migrate::fault_point("push", migrate::to_string(what));
                           spdlog::debug("move {}: tells process {:016x} {}",
                                         coord::format_move_id(order.move()), process,
                                         migrate::to_string(what));
                           endpoints::proto::Response response;
                           *response.mutable_move_order() = order;
                           std::vector<std::shared_ptr<const Dc>> known;
                           if (dc) known.push_back(*dc);
                           parts->push(owner->session, response, known);
                         });
}

void MoveDriver::arm() {
  parts_.loop.cancel(deadline_timer_);
  if (finished_) return;
  const migrate::Time at = source_ ? source_->deadline() : target_->deadline();
  if (at != migrate::kNever) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(at - Clock::now());
    deadline_timer_ = parts_.loop.after(std::max(left, 0ms), [this] {
      deadline_timer_ = 0;
      const auto now = Clock::now();
      perform(source_ ? source_->on_time(now) : target_->on_time(now));
    });
  }
  // The deaths of the members are written by the agent's own rule; no watch tells of them.
  if (source_ && lost_ != 0 && !reading_.ended && !writing_ && !reading_now_)
    look_later(kLookAgain);
}

}  // namespace godwit::node
