#include "agent/move_reader.h"

#include <utility>

namespace godwit::node {

namespace {
using namespace std::chrono_literals;
constexpr auto kPause = 50ms;
}  // namespace

void MoveReader::read(const coord::proto::MigrationRecord& known, coord::Deadline deadline,
                      coord::Watcher watcher, Done done) {
  auto job = std::make_shared<Job>();
  job->reading.entry.record = known;
  job->deadline = deadline;
  job->done = std::move(done);
  start(job, std::move(watcher));
}

void MoveReader::start(const JobPtr& job, coord::Watcher watcher) {
  if (may_read_()) return read_record(job, std::move(watcher));
  loop_.after(kPause, [this, job, watcher = std::move(watcher), alive = lifetime_.token()] {
    if (!*alive) return;
    if (Clock::now() < job->deadline) return start(job, watcher);
    job->done(coord::fail(coord::Errc::unavailable, "this node is not registered"));
  });
}

void MoveReader::read_record(const JobPtr& job, coord::Watcher watcher) {
  moves_.get(
      job->reading.record().id(), job->deadline,
      on_loop<coord::MoveEntry>(loop_, lifetime_,
                                [this, job](coord::Result<coord::MoveEntry> entry) {
                                  // So long ago that nothing is left of it but the endpoints.
                                  if (!entry && entry.error().code == coord::Errc::no_node)
                                    return read_ended(job);
                                  if (!entry)
                                    return job->done(tl::make_unexpected(std::move(entry.error())));
                                  job->reading.entry = std::move(*entry);
                                  if (has_ended(job->reading.record())) return read_ended(job);
                                  // The record stood after the members were read, so what was
                                  // missing has left the move.
                                  if (job->incomplete) return job->done(std::move(job->reading));
                                  read_members(job);
                                }),
      std::move(watcher));
}

void MoveReader::read_members(const JobPtr& job) {
  moves_.get_with_members(
      job->reading.record().id(), job->deadline,
      on_loop<coord::Move>(loop_, lifetime_, [this, job](coord::Result<coord::Move> move) {
        if (!move && move.error().code == coord::Errc::no_node) return read_record(job, {});
        if (!move) return job->done(tl::make_unexpected(std::move(move.error())));
        job->reading.entry = std::move(move->entry);
        job->reading.members = std::move(move->members);
        const auto all = static_cast<std::size_t>(job->reading.record().members_size());
        if (job->reading.members.size() == all) return job->done(std::move(job->reading));
        // Missing because the move ended between the two reads, or because a member has left it?
        job->incomplete = true;
        read_record(job, {});
      }));
}

void MoveReader::read_ended(const JobPtr& job) {
  job->reading.ended = true;
  job->reading.members.clear();
  const auto& record = job->reading.record();
  job->found.resize(static_cast<std::size_t>(record.members_size()));
  // One more than the members: the job must not end while they are being asked for.
  job->unanswered = job->found.size() + 1;
  for (int i = 0; i < record.members_size(); ++i) {
    directory_.get_endpoint(
        record.dc(), record.members(i).slot(), job->deadline,
        on_loop<coord::EndpointEntry>(
            loop_, lifetime_, [this, job, i](coord::Result<coord::EndpointEntry> entry) {
              if (entry) {
                job->found[static_cast<std::size_t>(i)] = std::move(*entry);
              } else if (entry.error().code != coord::Errc::endpoint_stale &&
                         entry.error().code != coord::Errc::dc_unknown) {
                job->error = std::move(entry.error());
              }
              answer_ended(job);
            }));
  }
  answer_ended(job);
}

void MoveReader::answer_ended(const JobPtr& job) {
  if (--job->unanswered != 0) return;
  if (job->error) return job->done(tl::make_unexpected(std::move(*job->error)));
  for (std::size_t i = 0; i < job->found.size(); ++i) {
    auto& entry = job->found[i];
    const auto& member = job->reading.record().members(static_cast<int>(i));
    if (entry && is_same_binding(member, entry->record)) {
      job->reading.members.push_back(std::move(*entry));
    }
  }
  job->done(std::move(job->reading));
}

}  // namespace godwit::node
