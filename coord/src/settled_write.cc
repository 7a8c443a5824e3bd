#include "settled_write.h"

#include "record_envelope.h"

#include <algorithm>

namespace godwit::coord {
namespace {

// How well an op's record tells later whether the write happened.
int witness_quality(const WriteOp& op) {
  if (const auto* set = std::get_if<SetOp>(&op)) {
    if (set->expected.number() < 0) return 1;  // its trail begins with itself
    return set->expected.trail().count > 0 ? 5 : 3;
  }
  if (const auto* create = std::get_if<CreateOp>(&op))
    return create->mode == CreateMode::persistent ? 4 : 2;
  return 0;
}

std::optional<std::size_t> find_nonce(const WriteTrail& trail, std::uint64_t nonce) {
  const auto end = trail.nonces.begin() + trail.count;
  const auto found = std::find(trail.nonces.begin(), end, nonce);
  if (found == end) return std::nullopt;
  return static_cast<std::size_t>(found - trail.nonces.begin());
}

}  // namespace

SettledWrite::SettledWrite(std::vector<WriteOp> ops, std::uint64_t nonce)
    : ops_(std::move(ops)), trails_(ops_.size()), nonce_(nonce) {
  int best = 0;
  for (std::size_t i = 0; i < ops_.size(); ++i) {
    if (auto* create = std::get_if<CreateOp>(&ops_[i])) {
      trails_[i] = extend_trail(nonce, {});
      create->data = wrap_record(trails_[i], create->data);
      has_ephemeral_ |= create->mode == CreateMode::ephemeral;
    } else if (auto* set = std::get_if<SetOp>(&ops_[i])) {
      trails_[i] = extend_trail(nonce, set->expected.trail());
      set->data = wrap_record(trails_[i], set->data);
    }
    if (const int quality = witness_quality(ops_[i]); quality > best) {
      best = quality;
      witness_ = static_cast<int>(i);
    }
  }
}

SettledWrite::Step SettledWrite::answered(Result<std::vector<std::int32_t>> versions,
                                          SessionId session) {
  if (versions) return finish(stats(*versions, session));
  if (!was_lost_) return finish(tl::unexpected<Error>(std::move(versions.error())));
  if (witness_ >= 0) {
    refusal_ = std::move(versions.error());
    return Step::verify;
  }
  // Only removes and checks. One remove that finds nothing has what it wanted; of
  // several, another participant may have removed the one that is missing.
  const bool one_remove = ops_.size() == 1 && std::holds_alternative<RemoveOp>(ops_[0]);
  if (one_remove && versions.error().code == Errc::no_node) return finish(std::vector<Stat>(1));
  const bool only_checks = std::all_of(ops_.begin(), ops_.end(), [](const WriteOp& op) {
    return std::holds_alternative<CheckOp>(op);
  });
  if (one_remove || only_checks) return finish(tl::unexpected<Error>(std::move(versions.error())));
  return finish(
      fail(Errc::outcome_unknown,
           "the answer was lost, and issued again it was refused: " + versions.error().message,
           versions.error().failed_op));
}

SettledWrite::Step SettledWrite::lost(bool session_ended) {
  was_lost_ = true;
  session_ended_ |= session_ended;
  return after_loss();
}

SettledWrite::Step SettledWrite::after_loss() {
  if (session_ended_ && has_ephemeral_) {
    const auto* create = witness_ >= 0 ? std::get_if<CreateOp>(&ops_[witness_]) : nullptr;
    if (create != nullptr && create->mode == CreateMode::ephemeral)
      return finish(fail(Errc::session_expired, create->path + ": the session ended"));
  }
  return witness_ >= 0 ? Step::verify : Step::issue;
}

const std::string& SettledWrite::witness() const {
  return std::visit([](const auto& op) -> const std::string& { return op.path; }, ops_[witness_]);
}

SettledWrite::Step SettledWrite::witnessed(const Result<Record>& record) {
  if (!record && record.error().code != Errc::no_node)
    return finish(fail(Errc::outcome_unknown,
                       "the answer was lost, and the record that would "
                       "tell is unreadable: " +
                           record.error().message,
                       witness_));
  Error found;
  switch (judge(record, found)) {
    case Verdict::happened:
      return finish(stats_of_witness(*record));
    case Verdict::refused:
      // The store's own refusal of the re-issue names the operation; prefer it.
      return finish(tl::unexpected<Error>(refusal_ ? std::move(*refusal_) : std::move(found)));
    case Verdict::unknown:
      return finish(fail(Errc::outcome_unknown,
                         witness() + ": the answer was lost, and the record was rewritten since",
                         witness_));
    case Verdict::not_yet:
      break;
  }
  if (refusal_) return finish(tl::unexpected<Error>(std::move(*refusal_)));
  if (session_ended_ && has_ephemeral_)
    return finish(fail(Errc::session_expired, witness() + ": the session ended"));
  return Step::issue;
}

SettledWrite::Verdict SettledWrite::judge(const Result<Record>& record, Error& refusal) const {
  const WriteOp& op = ops_[witness_];
  if (!record) {
    // Gone, or never there. A create that was created and removed again by another
    // cannot be told from one that never happened: to create it (again) gives what
    // was asked for. A set may have happened before the removal.
    return std::holds_alternative<CreateOp>(op) ? Verdict::not_yet : Verdict::unknown;
  }
  const WriteTrail& trail = record->stat.trail;
  const std::int32_t version = record->stat.version;
  if (find_nonce(trail, nonce_)) return Verdict::happened;

  if (std::holds_alternative<CreateOp>(op)) {
    // The trail reaches back to the creation, and that was not ours.
    if (trail.count > version) {
      refusal = Error{Errc::node_exists, witness() + " exists", witness_};
      return Verdict::refused;
    }
    return Verdict::unknown;
  }
  const auto& set = std::get<SetOp>(op);
  const std::int32_t expected = set.expected.number();
  // A blind set says nothing about what it overwrites: done again it is the same.
  if (expected < 0) return Verdict::not_yet;
  const WriteTrail& before = set.expected.trail();
  const std::int64_t steps = std::int64_t{version} - expected;
  // Versions start again when a record is removed and made anew; so the version that
  // was expected must be recognised by its nonce, not by its number alone.
  if (steps == 0)
    return before.count == 0 || before.nonces[0] == trail.nonces[0] ? Verdict::not_yet
                                                                    : Verdict::unknown;
  const bool whole = steps > 0 && steps < trail.count && before.count > 0 &&
                     trail.nonces[static_cast<std::size_t>(steps)] == before.nonces[0];
  if (!whole) return Verdict::unknown;
  refusal = Error{
      Errc::bad_version,
      witness() + " is at version " + std::to_string(version) + ", not " + std::to_string(expected),
      witness_};
  return Verdict::refused;
}

SettledWrite::Step SettledWrite::finish(Result<std::vector<Stat>> result) {
  result_.emplace(std::move(result));
  return Step::finished;
}

std::vector<Stat> SettledWrite::stats(const std::vector<std::int32_t>& versions,
                                      SessionId session) const {
  std::vector<Stat> stats(ops_.size());
  for (std::size_t i = 0; i < ops_.size(); ++i) {
    stats[i].version = versions[i];
    stats[i].trail = trails_[i];
    const auto* create = std::get_if<CreateOp>(&ops_[i]);
    if (create != nullptr && create->mode == CreateMode::ephemeral)
      stats[i].ephemeral_owner = session;
  }
  return stats;
}

// What the lost answer would have said, but for what only it knew, given as 0: the
// version that a blind set made of a record that is not the witness, and the owner of
// an ephemeral that is not the witness.
std::vector<Stat> SettledWrite::stats_of_witness(const Record& record) const {
  std::vector<std::int32_t> versions(ops_.size(), 0);
  for (std::size_t i = 0; i < ops_.size(); ++i)
    if (const auto* set = std::get_if<SetOp>(&ops_[i]); set && set->expected.number() >= 0)
      versions[i] = set->expected.number() + 1;
  const std::size_t since = *find_nonce(record.stat.trail, nonce_);
  versions[witness_] = record.stat.version - static_cast<std::int32_t>(since);
  return stats(versions, record.stat.ephemeral_owner);
}

}  // namespace godwit::coord
