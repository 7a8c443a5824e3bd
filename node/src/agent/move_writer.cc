#include "agent/move_writer.h"

#include <spdlog/spdlog.h>

#include <utility>

#include "agent/errors.h"
#include "godwit/migrate/fault_points.h"

namespace godwit::node {

namespace {

using namespace std::chrono_literals;

constexpr auto kStepLimit = 10s;
constexpr auto kPause = 100ms;
// What is refused for ever is not asked for at once again.
constexpr auto kRefusedPause = 2s;

// Whether a reading shows that the write happened, or that it cannot any more.
bool is_past(const MoveReading& reading, migrate::Write write) {
  const migrate::Phase phase = reading.view().phase;
  switch (write) {
    case migrate::Write::prepared:
      return phase != migrate::Phase::planned;
    case migrate::Write::intent:
      return phase == migrate::Phase::moving || phase == migrate::Phase::ended;
    default:
      return phase == migrate::Phase::ended;
  }
}

}  // namespace

void MoveWriter::write(MoveWrite write, MoveReading from, Done done) {
  auto job = std::make_shared<Job>();
  job->write = std::move(write);
  job->settled.reading = std::move(from);
  job->done = std::move(done);
  job->started = Clock::now();
  issue(job);
}

void MoveWriter::issue(const JobPtr& job) {
  migrate::fault_point("write", migrate::to_string(job->write.write), "before");
  const MoveReading& reading = job->settled.reading;
  const auto deadline = coord::after(kStepLimit);
  auto done = on_loop<coord::Move>(loop_, lifetime_, [this, job](coord::Result<coord::Move> move) {
    answered(job, std::move(move));
  });
  switch (job->write.write) {
    case migrate::Write::prepared:
      return issue_prepared(job);
    case migrate::Write::intent: {
      coord::Move move = reading.move();
      if (job->write.progress.bytes_sent() > 0) {
        *move.entry.record.mutable_progress() = job->write.progress;
      }
      return moves_.begin(std::move(move), deadline, std::move(done));
    }
    case migrate::Write::commit:
      return moves_.commit(
          reading.move(),
          {job->write.owner, job->write.engine_addresses, job->write.times, job->unchecked},
          deadline, std::move(done));
    case migrate::Write::abort:
      return moves_.abort(reading.record().id(),
                          {job->write.reason, job->write.by, job->write.times}, deadline,
                          std::move(done));
    case migrate::Write::none:
      return job->done(std::move(job->settled));
  }
}

void MoveWriter::issue_prepared(const JobPtr& job) {
  coord::MoveEntry entry = job->settled.reading.entry;
  // Only from the plan: whatever else was read since is not to be written over.
  if (entry.record.state() != coord::proto::MigrationRecord::PLANNED) {
    return job->done(std::move(job->settled));
  }
  entry.record.set_state(coord::proto::MigrationRecord::PREPARED);
  *entry.record.mutable_dock() = job->write.dock;
  entry.record.set_target_process(job->write.process);
  moves_.update(std::move(entry), coord::after(kStepLimit),
                on_loop<coord::MoveEntry>(
                    loop_, lifetime_, [this, job](coord::Result<coord::MoveEntry> updated) {
                      if (!updated) {
                        return answered(job, tl::make_unexpected(std::move(updated.error())));
                      }
                      answered(job, coord::Move{std::move(*updated), job->settled.reading.members});
                    }));
}

void MoveWriter::answered(const JobPtr& job, coord::Result<coord::Move> result) {
  migrate::fault_point("write", migrate::to_string(job->write.write), "after");
  Settled& settled = job->settled;
  if (result) {
    settled.done = true;
    settled.took =
        std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - job->started);
    settled.reading.entry = std::move(result->entry);
    settled.reading.members = std::move(result->members);
    settled.reading.ended = has_ended(settled.reading.record());
    return job->done(std::move(settled));
  }
  const coord::Error& error = result.error();
  if (job->write.write == migrate::Write::commit && !job->unchecked &&
      migrate::planted("commit-unchecked")) {
    job->unchecked = true;
    return issue(job);
  }
  switch (error.code) {
    case coord::Errc::deadline:
      job->uncertain = true;
      return look(job);
    case coord::Errc::node_taken:
      settled.fenced = true;
      job->uncertain = false;
      return look(job);
    case coord::Errc::no_node:
    case coord::Errc::bad_version:
    case coord::Errc::endpoint_stale:
    case coord::Errc::outcome_unknown:
      // Lost, or settled by a reading: nothing of it is on its way any more.
      job->uncertain = false;
      return look(job);
    default:
      if (is_transient(error.code)) {
        spdlog::warn("move {}: cannot write {}: {}",
                     coord::format_move_id(settled.reading.record().id()),
                     migrate::to_string(job->write.write), error.message);
        return look_later(job, kPause);
      }
      spdlog::error("move {}: the directory refuses {}: {}",
                    coord::format_move_id(settled.reading.record().id()),
                    migrate::to_string(job->write.write), error.message);
      settled.impossible = true;
      settled.why = error.message;
      return look_later(job, kRefusedPause);
  }
}

void MoveWriter::look(const JobPtr& job) {
  reader_.read(job->settled.reading.record(), coord::after(kStepLimit), {},
               [this, job, alive = lifetime_.token()](coord::Result<MoveReading> reading) {
                 if (!*alive) return;
                 if (!reading) return look_later(job, kPause);
                 job->settled.reading = std::move(*reading);
                 if (job->uncertain && !is_past(job->settled.reading, job->write.write)) {
                   return issue(job);
                 }
                 job->done(std::move(job->settled));
               });
}

void MoveWriter::look_later(const JobPtr& job, std::chrono::milliseconds pause) {
  loop_.after(pause, [this, job, alive = lifetime_.token()] {
    if (*alive) look(job);
  });
}

}  // namespace godwit::node
