// LocalCoordinator::Impl: the heartbeat thread.
#include "local_impl.h"

namespace godwit::coord {
namespace {

// Whoever wrote is woken first, and may write more: one look for all of it, once there was no
// change for kGather. A steady flow of them is looked at now and then.
constexpr auto kGather = std::chrono::milliseconds(5);
constexpr int kGatherings = 4;

std::uint32_t wait_until_calm(const LivenessFile& liveness, std::uint32_t changes) {
  for (int i = 0; i < kGatherings; ++i) {
    std::this_thread::sleep_for(kGather);
    const std::uint32_t now = liveness.changes();
    if (now == changes) break;
    changes = now;
  }
  return changes;
}

}  // namespace

template <typename Ask>
void LocalCoordinator::Impl::ask(Ask ask) {
  std::unique_lock lock(mutex_);
  if (closing_) return;
  ask(errands_);
  want_service(std::move(lock));
}

void LocalCoordinator::Impl::run_heartbeat() {
  const std::int64_t timeout = std::chrono::nanoseconds(options_.session_timeout).count();
  const std::int64_t interval = timeout / 4;
  std::int64_t last_beat = monotonic_ns();
  std::int64_t next_beat = last_beat;
  std::uint32_t seen = 0;
  for (;;) {
    Shared current;
    {
      std::lock_guard lock(mutex_);
      current = shared_;
    }
    LivenessFile& liveness = *current.liveness;
    const LocalStore::Session& own = current.session;
    std::uint32_t changes = liveness.changes();
    // After each reading of the counter: close() raises it after it set the flag, so one
    // of the two is seen.
    if (stop_heartbeat_) return;
    bool look = changes != seen;
    const std::int64_t now = monotonic_ns();
    if (now >= next_beat) {
      const bool beaten = own.id != 0 && liveness.beat(own.slot, own.id);
      // This process did not run for longer than its session lasts: perhaps it is gone.
      const bool overslept = now - last_beat > timeout;
      if (!beaten || overslept) ask([](Errands& errands) { errands.check_session = true; });
      if (!liveness.still_linked()) ask([](Errands& errands) { errands.reattach = true; });
      look_after_others(liveness, own);
      look |= look_again_.exchange(false);
      last_beat = now;
      next_beat = now + interval;
    }
    if (look && has_watches_) {
      if (changes != seen) changes = wait_until_calm(liveness, changes);
      if (stop_heartbeat_) return;
      ask([](Errands& errands) { errands.look_for_changes = true; });
    }
    seen = changes;
    liveness.wait_change(seen, std::chrono::nanoseconds(next_beat - monotonic_ns()));
  }
}

void LocalCoordinator::Impl::look_after_others(LivenessFile& liveness,
                                               const LocalStore::Session& own) {
  for (std::uint32_t slot = 0; slot < kMaxSessions; ++slot) {
    const SessionId session = liveness.slot(slot).session;
    if (session == 0 || session == own.id) continue;
    if (!LocalStore::is_alive(liveness, {session, slot}))
      ask([&](Errands& errands) { errands.expire.insert({session, slot}); });
  }
}

}  // namespace godwit::coord
