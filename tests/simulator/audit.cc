#include "audit.h"

namespace godwit::simulator {

namespace {

std::string to_string(Identity identity) {
  return std::to_string(identity.endpoint) + "." + std::to_string(identity.generation);
}

const char* to_string(Kind kind) {
  switch (kind) {
    case Kind::message:
      return "message";
    case Kind::request:
      return "request";
    case Kind::reply:
      return "reply";
    case Kind::empty:
      return "cancelled request";
  }
  return "?";
}

}  // namespace

std::string Audit::describe(const Entry& entry) {
  return std::string(to_string(entry.kind)) + " " + std::to_string(entry.number) + " from " +
         to_string(entry.from) + " to " + to_string(entry.to);
}

std::uint32_t Audit::on_accepted(Identity from, Identity to, Stream stream, Number number,
                                 Kind kind, std::uint32_t answers) {
  const auto index = static_cast<std::uint32_t>(entries_.size());
  std::uint32_t& last = flows_[{from, to}].last[static_cast<std::size_t>(kind)];
  entries_.push_back({from, to, stream, number, kind, false, Outcome::waiting, answers, last});
  last = index;
  return index;
}

void Audit::on_taken(Identity taker, std::uint32_t index, Number number) {
  Entry& entry = entries_[index];
  if (entry.to != taker) fail(describe(entry) + " was taken by " + to_string(taker));
  if (entry.number != number) {
    fail(describe(entry) + " arrived as number " + std::to_string(number));
  }
  if (entry.taken) fail(describe(entry) + " was taken twice");
  if (entry.kind == Kind::request && entry.outcome == Outcome::not_executed) {
    fail(describe(entry) + " was executed after its caller was told that it was not");
  }
  entry.taken = true;
  std::uint32_t before = entry.before;
  while (before != kNone && is_excused(entries_[before])) before = entries_[before].before;
  if (before != kNone && !entries_[before].taken) {
    fail(describe(entry) + " was taken before " + describe(entries_[before]));
  }
}

void Audit::on_released(std::uint32_t index) {
  const Entry& entry = entries_[index];
  if (!entry.taken && !is_excused(entry)) {
    fail(describe(entry) + " was released before its receiver's application took it");
  }
}

void Audit::on_outcome(std::uint32_t index, Outcome outcome, std::uint32_t reply) {
  Entry& request = entries_[index];
  if (request.outcome != Outcome::waiting) {
    fail(describe(request) + " completed twice");
  }
  request.outcome = outcome;
  if (outcome == Outcome::not_executed) {
    if (request.taken) {
      fail(describe(request) + " was executed, but its caller was told that it was not");
    }
  }
  if (outcome == Outcome::ok &&
      (entries_[reply].kind != Kind::reply || entries_[reply].answers != index || !request.taken)) {
    fail(describe(request) + " completed with the reply of another");
  }
}

std::uint64_t Audit::on_notify(Identity from, Identity to) {
  Notifications& pair = notifications_[{from, to}];
  return pair.sent == 64 ? 0 : std::uint64_t{1} << pair.sent++;
}

void Audit::on_notified(Identity from, Identity to, std::uint64_t bits) {
  Notifications& pair = notifications_[{from, to}];
  const std::uint64_t sent =
      pair.sent == 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << pair.sent) - 1;
  if ((bits & ~sent) != 0) fail(to_string(to) + " saw a notification that was never sent");
  if ((bits & pair.seen) != 0) fail(to_string(to) + " saw a notification twice");
  pair.seen |= bits;
}

void Audit::on_heard(const Frame& frame, std::uint32_t known_epoch) {
  if (frame.witness_epoch < known_epoch) {
    fail(to_string(frame.target) + " accepted a frame of " + to_string(frame.source) +
         " from a place it knows to be left (epoch " + std::to_string(frame.witness_epoch) +
         ", known " + std::to_string(known_epoch) + ")");
  }
}

void Audit::on_quiet(const std::vector<std::uint32_t>& alive) {
  const auto lives = [&](Identity identity) {
    return alive[identity.endpoint] == identity.generation;
  };
  for (const Entry& entry : entries_) {
    if (!lives(entry.from)) continue;
    if (entry.kind == Kind::request && entry.outcome == Outcome::waiting) {
      fail(describe(entry) + " never completed");
    }
    if (lives(entry.to) && !entry.taken && !is_excused(entry)) {
      fail(describe(entry) + " was lost");
    }
  }
  for (const auto& [pair, state] : notifications_) {
    const std::uint64_t sent =
        state.sent == 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << state.sent) - 1;
    if (lives(pair.first) && lives(pair.second) && state.seen != sent) {
      fail("a notification from " + to_string(pair.first) + " to " + to_string(pair.second) +
           " was lost");
    }
  }
}

}  // namespace godwit::simulator
