#include "agent/mover.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "agent/errors.h"

namespace godwit::node {

namespace {

using namespace std::chrono_literals;
using Role = MoveDriver::Role;

constexpr auto kReadLimit = 10s;
constexpr auto kRetry = 500ms;
constexpr auto kSettled = 5ms;
// No watch tells that the endpoints of a lost node were marked dead.
constexpr auto kSweepInterval = 2s;
constexpr auto kNoteTimes = 20ms;
constexpr auto kAnswer = 25ms;
constexpr std::size_t kMaxProgram = 255;

}  // namespace

Mover::Mover(MoveParts parts, ProgramSettings programs, Events events)
    : parts_(std::move(parts)),
      events_(std::move(events)),
      reader_(parts_.loop, parts_.directory, parts_.moves, parts_.registered),
      writer_(parts_.loop, parts_.moves, reader_),
      programs_(parts_.loop, std::move(programs),
                [this](std::uint64_t move, const std::string& how) { program_ended(move, how); }) {}

Mover::~Mover() {
  parts_.loop.cancel(retry_);
  parts_.loop.cancel(look_up_timer_);
  parts_.loop.cancel(sweep_timer_);
}

void Mover::later(EventLoop::TimerId& timer, std::chrono::milliseconds delay,
                  void (Mover::*task)()) {
  if (timer != 0) return;
  timer = parts_.loop.after(delay, [this, &timer, task] {
    timer = 0;
    (this->*task)();
  });
}

// --- Moves under way ----------------------------------------------------------------------------

void Mover::start() {
  look();
  for (const auto& [move, reports] : waiting_) look_up(move);
}

void Mover::on_connected() {
  parts_.loop.cancel(retry_);
  look();
}

void Mover::look() {
  // start() comes again.
  if (!parts_.registered()) return;
  if (reading_) {
    again_ = true;
    return;
  }
  reading_ = true;
  again_ = false;
  coord::Watcher watcher;
  if (!std::exchange(armed_, true)) {
    watcher = watcher_on_loop(parts_.loop, lifetime_, [this] {
      armed_ = false;
      // The end of one, most likely: its server is just coming back.
      drivers_.empty() ? look() : later(retry_, kSettled, &Mover::look);
    });
  }
  parts_.moves.list_active(coord::after(kReadLimit),
                           on_loop<std::vector<coord::MoveEntry>>(
                               parts_.loop, lifetime_,
                               [this](coord::Result<std::vector<coord::MoveEntry>> entries) {
                                 reading_ = false;
                                 if (entries) {
                                   take(std::move(*entries));
                                 } else {
                                   armed_ = false;
                                   later(retry_, kRetry, &Mover::look);
                                 }
                                 if (again_) look();
                               }),
                           std::move(watcher));
}

void Mover::take(std::vector<coord::MoveEntry> entries) {
  for (const coord::MoveEntry& entry : entries) {
    const auto& record = entry.record;
    if (record.source().node() == parts_.node && find(record.id(), Role::source) == nullptr) {
      make(record, Role::source).begin();
    }
    if (record.target_node() == parts_.node && find(record.id(), Role::target) == nullptr) {
      make(record, Role::target).begin();
    }
  }
  if (!std::exchange(listed_, true)) {
    // Started by a former agent, for moves that have ended since.
    for (const std::uint64_t move : standbys_.moves()) {
      if (find(move, Role::target) == nullptr) end_standbys_for(move);
    }
  }
  sweep(entries);
}

MoveDriver* Mover::find(std::uint64_t move, Role role) const {
  const auto found = drivers_.find({move, role});
  return found == drivers_.end() || found->second->finished() ? nullptr : found->second.get();
}

MoveDriver& Mover::make(const coord::proto::MigrationRecord& record, Role role) {
  spdlog::info("move {}: {} from node {} to node {}: this node is its {}",
               coord::format_move_id(record.id()), label_of(record), record.source().node(),
               record.target_node(), role == Role::source ? "source" : "target");
  MoveDriver::Hooks hooks{[this](MoveDriver& driver) { find_process(driver); },
                          [this](MoveDriver& driver) { finished(driver); },
                          [this](std::uint64_t move, coord::proto::MigrationTimes times) {
                            note_times(move, std::move(times));
                          }};
  auto& driver = drivers_[{record.id(), role}];
  driver = std::make_unique<MoveDriver>(parts_, reader_, writer_, role, record, std::move(hooks));
  if (lost_.contains(driver->process())) driver->on_process_lost(driver->process());
  return *driver;
}

void Mover::finished(MoveDriver& driver) {
  const auto& record = driver.record();
  const std::uint64_t move = driver.id();
  spdlog::info("move {}: {}: done with at this node", coord::format_move_id(move),
               label_of(record));
  if (driver.role() == Role::target) {
    // What was started for it goes on only as the one that serves.
    const Process* serves = driver.granted() ? parts_.processes.find(driver.process()) : nullptr;
    if (serves == nullptr || serves->pid != programs_.pid_of(move)) programs_.end(move);
    if (serves != nullptr) granted_.insert(serves->number);
    end_standbys_for(move);
  }
  events_.endpoints_changed();
  // It is in the middle of an event.
  if (std::exchange(erasing_, true)) return;
  parts_.loop.post([this, alive = lifetime_.token()] {
    if (!*alive) return;
    erasing_ = false;
    std::erase_if(drivers_, [](const auto& each) { return each.second->finished(); });
  });
}

// --- Processes ----------------------------------------------------------------------------------

MoveDriver* Mover::driver_of(std::uint64_t move, std::uint64_t process) const {
  MoveDriver* source = find(move, Role::source);
  if (source != nullptr && source->process() == process) return source;
  return find(move, Role::target);
}

void Mover::report(const Process& process, const endpoints::proto::MoveReport& report, Done done) {
  const bool known = report.move() != 0 &&
                     report.report() <= static_cast<std::uint32_t>(migrate::Report::cannot) &&
                     report.reason() <= static_cast<std::uint32_t>(migrate::Reason::load_failed);
  if (!known) {
    return done(fail(Errc::invalid_argument, "this agent does not know what is reported"));
  }
  // Who was taken for lost once has no part in moves any more, though it may be back.
  if (!lost_.contains(process.number)) take_report(process.number, report);
  // The process does not wait for it, and other processes may.
  parts_.loop.after(kAnswer, [done = std::move(done)] { done({}); });
}

void Mover::take_report(std::uint64_t process, const endpoints::proto::MoveReport& report) {
  if (MoveDriver* driver = driver_of(report.move(), process)) {
    return driver->on_report(process, report);
  }
  if (report.report() == static_cast<std::uint32_t>(migrate::Report::over)) {
    // Nobody asks any more, but it may say how long it took.
    if (report.has_times()) note_times(report.move(), times_of(report.times()));
    return;
  }
  // Of a move that has ended, or that is not listed yet.
  waiting_[report.move()].push_back({process, report});
  look_up(report.move());
}

/// A little later: the server is just coming back.
void Mover::note_times(std::uint64_t move, coord::proto::MigrationTimes times) {
  parts_.loop.after(kNoteTimes, [this, move, times = std::move(times), alive = lifetime_.token()] {
    if (!*alive) return;
    parts_.moves.add_times(move, times, coord::after(kReadLimit),
                           [move](const coord::Result<coord::MoveEntry>& saved) {
                             if (saved) return;
                             spdlog::debug("move {}: its times are lost: {}",
                                           coord::format_move_id(move), saved.error().message);
                           });
  });
}

void Mover::look_up(std::uint64_t move) {
  if (!parts_.registered() || !looking_up_.insert(move).second) return;
  parts_.moves.get(move, coord::after(kReadLimit),
                   on_loop<coord::MoveEntry>(parts_.loop, lifetime_,
                                             [this, move](coord::Result<coord::MoveEntry> entry) {
                                               looking_up_.erase(move);
                                               looked_up(move, std::move(entry));
                                             }));
}

void Mover::looked_up(std::uint64_t move, coord::Result<coord::MoveEntry> entry) {
  if (!entry && entry.error().code != coord::Errc::no_node) {
    parts_.loop.after(kRetry, [this, move, alive = lifetime_.token()] {
      if (*alive && waiting_.contains(move)) look_up(move);
    });
    return;
  }
  auto waiting = waiting_.extract(move);
  if (waiting.empty()) return;
  if (!entry) {
    spdlog::error(
        "a process is in move {}, of which there is no record any more: it is told "
        "nothing, and must be restarted",
        coord::format_move_id(move));
    return;
  }
  for (const Waiting& each : waiting.mapped()) {
    const auto& record = entry->record;
    const bool leaves =
        record.source().node() == parts_.node && record.source().process() == each.process;
    if (!leaves && record.target_node() != parts_.node) continue;
    const Role role = leaves ? Role::source : Role::target;
    MoveDriver* driver = find(move, role);
    const bool made = driver == nullptr;
    if (made) driver = &make(record, role);
    // Before the record: a move that has ended is done with if nobody is to be told.
    driver->on_report(each.process, each.report);
    if (made) driver->begin();
  }
}

void Mover::on_attached(std::uint64_t process) {
  for (const auto& [key, driver] : drivers_) driver->on_attached(process);
}

void Mover::on_process_gone(std::uint64_t process) {
  standbys_.remove(process);
  events_.programs_changed({});
  granted_.erase(process);
  for (const auto& [key, driver] : drivers_) {
    if (driver->process() == process && !driver->finished()) lost_.insert(process);
    driver->on_process_lost(process);
  }
}

void Mover::on_nodes_changed() {
  for (const auto& [key, driver] : drivers_) driver->on_nodes_changed();
  if (others_) look();
}

bool Mover::may_have_left(std::uint64_t process, const EndpointId& id) const {
  return std::any_of(drivers_.begin(), drivers_.end(), [&](const auto& each) {
    return each.second->process() == process && each.second->may_have_left(id);
  });
}

bool Mover::is_unsettled(std::uint64_t process) const {
  for (const auto& [key, driver] : drivers_) {
    if (driver->role() == Role::target && driver->process() == process && !driver->finished()) {
      return true;
    }
  }
  for (const auto& [move, reports] : waiting_) {
    for (const Waiting& each : reports) {
      if (each.process == process) return true;
    }
  }
  return false;
}

// --- Processes that take what comes here --------------------------------------------------------

void Mover::stand_by(const Process& process, const endpoints::proto::StandBy& request, Done done) {
  if (request.withdraw()) {
    standbys_.remove(process.number);
    return events_.programs_changed([done] { done({}); });
  }
  // It will be gone in a moment.
  if (programs_.is_ending(process.pid) || lost_.contains(process.number)) return done({});
  if (request.program().empty() || request.program().size() > kMaxProgram) {
    return done(fail(Errc::invalid_argument, "a program's name has 1 to 255 bytes"));
  }
  // Once it has served it is as good as any other.
  if (request.move() == 0 || granted_.contains(process.number)) {
    standbys_.add(process.number, request.program(), 0);
    return events_.programs_changed([done] { done({}); });
  }
  done({});
  MoveDriver* driver = find(request.move(), Role::target);
  if (driver != nullptr && driver->wants_process()) return driver->on_idle(process.number);
  standbys_.add(process.number, request.program(), request.move());
  // Started by a former agent, for a move that is no more or has another process.
  if (listed_) end_standbys_for(request.move());
}

void Mover::find_process(MoveDriver& driver) {
  const std::uint64_t move = driver.id();
  // The dock is bound in that DC, so this node must be able to use it.
  parts_.dcs.find_usable(
      driver.record().dc(), coord::after(kReadLimit),
      [this, move, alive = lifetime_.token()](const Result<std::shared_ptr<const Dc>>& dc) {
        MoveDriver* wants = *alive ? find(move, Role::target) : nullptr;
        if (wants == nullptr || !wants->wants_process()) return;
        if (!dc) return wants->on_start_failed(dc.error().to_string());
        const std::string& program = wants->record().program();
        const auto standby = standbys_.take(program, move, [this](std::uint64_t number) {
          const Process* process = parts_.processes.find(number);
          return process != nullptr && process->session != 0;
        });
        if (standby) {
          events_.programs_changed({});
          return wants->on_idle(*standby);
        }
        if (auto started = programs_.start(program, move); !started) {
          wants->on_start_failed(started.error().message);
        }
      });
}

void Mover::program_ended(std::uint64_t move, const std::string& how) {
  MoveDriver* driver = find(move, Role::target);
  if (driver == nullptr || !driver->wants_process()) return;
  driver->on_start_failed("what was started for it " + how + " before it stood by");
}

void Mover::end_standbys_for(std::uint64_t move) {
  for (const std::uint64_t number : standbys_.take_started_for(move)) {
    const Process* process = parts_.processes.find(number);
    if (process == nullptr) continue;
    spdlog::info("move {}: process {} was started for it and is not needed",
                 coord::format_move_id(move), process->pid);
    programs_.end_process(process->pid);
  }
}

std::set<std::string> Mover::programs() const {
  std::set<std::string> programs = standbys_.programs();
  for (const auto& [name, command] : programs_.commands()) programs.insert(name);
  return programs;
}

// --- Moves that nobody drives -------------------------------------------------------------------

// A move whose nodes are both lost has no agent that would end it. Once its members are dead there
// is nothing to decide any more, and any agent may do it.
void Mover::sweep(const std::vector<coord::MoveEntry>& entries) {
  const auto present = [this](const std::string& name) {
    const NodeTable::Node* node = parts_.nodes.find(name);
    return node != nullptr && node->present;
  };
  others_ = false;
  bool orphans = false;
  for (const coord::MoveEntry& entry : entries) {
    const std::string& source = entry.record.source().node();
    const std::string& target = entry.record.target_node();
    if (source == parts_.node || target == parts_.node) continue;
    others_ = true;
    if (!parts_.nodes.loaded() || present(source) || present(target)) continue;
    orphans = true;
    sweep_one(entry.record);
  }
  if (orphans) later(sweep_timer_, kSweepInterval, &Mover::look);
}

void Mover::sweep_one(const coord::proto::MigrationRecord& record) {
  reader_.read(record, coord::after(kReadLimit), {},
               [this, alive = lifetime_.token()](const coord::Result<MoveReading>& reading) {
                 if (!*alive || !reading || reading->ended || !reading->members.empty()) return;
                 parts_.moves.abort(
                     reading->record().id(),
                     {"both its nodes are lost, and its endpoints dead", parts_.node, {}},
                     coord::after(kReadLimit), [](const auto&) {});
               });
}

}  // namespace godwit::node
