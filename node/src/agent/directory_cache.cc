#include "agent/directory_cache.h"

#include <algorithm>
#include <utility>

#include "agent/errors.h"

namespace godwit::node {

namespace {

using namespace std::chrono_literals;

constexpr auto kBackgroundLimit = 10s;
constexpr auto kRetry = 500ms;
// A living endpoint that changes is on the move, or about to be unbound. Those who talk to it are
// told by its new place itself, and would take the time in which it gets there.
constexpr auto kSettled = 5ms;
// A process that asks for ever new names that nobody holds must not fill the memory with watches.
constexpr std::size_t kMaxAbsentWatched = 10'000;

// To whoever talks to it. One that begins to move does not look different to them, and they are not
// told of it: their waking would take the time in which it moves.
bool same(const KnownEndpoint& a, const KnownEndpoint& b) {
  const bool same_state = a.record.state() == b.record.state() || (a.alive() && b.alive());
  return a.id() == b.id() && same_state && a.record.epoch() == b.record.epoch() &&
         a.record.engine_address() == b.record.engine_address();
}

Result<Known> alive_or_not_found(const Known& endpoint, const std::string& full_name) {
  if (endpoint && endpoint->alive()) return endpoint;
  return fail(Errc::not_found, endpoint ? "its owner is gone" : "no endpoint of that name is bound",
              full_name);
}

}  // namespace

DirectoryCache::DirectoryCache(EventLoop& loop, coord::Directory& directory, Push push)
    : loop_(loop), directory_(directory), push_(std::move(push)) {}

DirectoryCache::~DirectoryCache() {
  loop_.cancel(retry_);
}

// --- Questions ----------------------------------------------------------------------------------

void DirectoryCache::resolve(const std::string& dc, const std::string& name, SessionNumber session,
                             coord::Deadline deadline, Answer done) {
  const Key key{dc, name};
  Entry& entry = entries_[key];
  if (entry.armed && entry.current && entry.current->alive()) {
    add_subscriber(entry, session);
    done(entry.current);
    return;
  }
  auto answer = [this, key, session, done = std::move(done)](Result<Known> result) {
    // What was true before the directory went away is the best there is.
    const auto found = entries_.find(key);
    Entry* known = found == entries_.end() ? nullptr : &found->second;
    if (!result && result.error().code == Errc::agent_unavailable && known != nullptr &&
        known->current && known->current->alive()) {
      result = known->current;
    }
    if (result) result = alive_or_not_found(*result, key.dc + "/" + key.name);
    if (result && known != nullptr) add_subscriber(*known, session);
    done(std::move(result));
  };
  if (entry.reading) {
    entry.next_readers.push_back(std::move(answer));
  } else {
    entry.readers.push_back(std::move(answer));
    read(key, entry, deadline);
  }
}

void DirectoryCache::locate(const std::string& dc, std::uint32_t slot, SessionNumber session,
                            coord::Deadline deadline, Answer done) {
  const Key key{dc, "", slot};
  Entry& entry = entries_[key];
  auto answer = [this, key, session, done = std::move(done)](Result<Known> result) {
    if (result && *result == nullptr) result = fail(Errc::not_found, "there is no such endpoint");
    const auto found = entries_.find(key);
    if (result && (*result)->alive() && found != entries_.end()) {
      add_subscriber(found->second, session);
    }
    if (result) saw(*result);
    done(std::move(result));
  };
  if (entry.reading) {
    entry.next_readers.push_back(std::move(answer));
  } else {
    entry.readers.push_back(std::move(answer));
    read(key, entry, deadline);
  }
}

void DirectoryCache::subscribe(const std::string& dc, const endpoints::proto::Place& known,
                               SessionNumber session) {
  // What a process says need not fit together: a name of another DC is none.
  const auto parsed = EndpointName::parse(known.name());
  const std::string name = parsed && parsed->dc == dc ? std::string(parsed->name) : "";
  auto check = [this, dc, name, session, known](Result<Known> result) {
    if (!result && result.error().code != Errc::not_found) return;  // Read again when it can be.
    const KnownEndpoint* now = result && *result != nullptr ? result->get() : nullptr;
    if (now == nullptr || now->id() != id_of(known)) {
      KnownEndpoint former;
      former.dc = dc;
      former.record.set_name(name);
      former.record.set_dc(known.dc());
      former.record.set_slot(known.slot());
      former.record.set_generation(known.generation());
      former.record.set_epoch(known.epoch());
      former.record.set_lineage(known.lineage());
      former.record.set_state(coord::proto::UNBOUND);
      former.record.mutable_owner()->set_node(known.node());
      former.record.mutable_owner()->set_process(known.process());
      push_(session, former);
    } else if (now->record.epoch() == known.epoch() &&
               static_cast<std::uint32_t>(now->record.state()) == known.state()) {
      return;
    }
    if (now != nullptr) push_(session, *now);
  };
  const auto deadline = coord::after(kBackgroundLimit);
  // Subscribed before the answer: with the directory away the answer is an error.
  add_subscriber(entries_[name.empty() ? Key{dc, "", known.slot()} : Key{dc, name}], session);
  if (name.empty()) {
    locate(dc, known.slot(), session, deadline, std::move(check));
  } else {
    resolve(dc, name, session, deadline, std::move(check));
  }
}

void DirectoryCache::wait_bound(const std::string& dc, const std::string& name,
                                SessionNumber session, std::uint64_t number, Answer done) {
  const Key key{dc, name};
  Entry& entry = entries_[key];
  entry.bound_waits.push_back({session, number, std::move(done)});
  waits_[{session, number}] = key;
  if (entry.armed) {
    answer_waits(entry);
  } else if (!entry.reading) {
    read(key, entry, coord::after(kBackgroundLimit));
  }
}

void DirectoryCache::wait_unbound(const std::string& dc, const std::string& name,
                                  SessionNumber session, std::uint64_t number, Answer done) {
  const Key key{dc, name};
  Entry& entry = entries_[key];
  entry.unbound_waits.push_back({session, number, std::move(done)});
  waits_[{session, number}] = key;
  // Not answered from a cached absence: the name may have been bound a moment ago, elsewhere.
  if (!entry.reading) read(key, entry, coord::after(kBackgroundLimit));
}

void DirectoryCache::cancel_wait(SessionNumber session, std::uint64_t number) {
  const auto wait = waits_.find({session, number});
  if (wait == waits_.end()) return;
  if (const auto found = entries_.find(wait->second); found != entries_.end()) {
    const auto matches = [&](const Wait& w) { return w.session == session && w.number == number; };
    std::erase_if(found->second.bound_waits, matches);
    std::erase_if(found->second.unbound_waits, matches);
  }
  waits_.erase(wait);
}

void DirectoryCache::drop_session(SessionNumber session) {
  while (true) {
    const auto wait = waits_.lower_bound({session, 0});
    if (wait == waits_.end() || wait->first.first != session) return;
    cancel_wait(session, wait->first.second);
  }
  // Its subscriptions end at the next push.
}

std::vector<Known> DirectoryCache::awaited_endings() const {
  std::vector<Known> awaited;
  for (const auto& [wait, key] : waits_) {
    const auto found = entries_.find(key);
    if (found == entries_.end() || found->second.unbound_waits.empty()) continue;
    const Known& endpoint = found->second.current;
    if (endpoint && endpoint->alive()) awaited.push_back(endpoint);
  }
  return awaited;
}

void DirectoryCache::add_subscriber(Entry& entry, SessionNumber session) {
  auto& list = entry.subscribers;
  if (session != 0 && std::find(list.begin(), list.end(), session) == list.end()) {
    list.push_back(session);
  }
}

// --- Reading ------------------------------------------------------------------------------------

void DirectoryCache::read(const Key& key, Entry& entry, coord::Deadline deadline) {
  entry.reading = true;
  entry.overtaken = false;
  stale_.erase(key);
  // One watch per entry at a time; and for an absent name only where somebody waits for it, or
  // while there are few.
  const bool watch =
      !entry.armed && (!entry.bound_waits.empty() || !entry.unbound_waits.empty() ||
                       !entry.subscribers.empty() || armed_absent_ < kMaxAbsentWatched);
  coord::Watcher watcher;
  if (watch) watcher = watcher_on_loop(loop_, lifetime_, [this, key] { on_watch(key); });
  auto done = on_loop<coord::EndpointEntry>(
      loop_, lifetime_, [this, key, watch](coord::Result<coord::EndpointEntry> result) {
        on_read(key, watch, std::move(result));
      });
  if (key.name.empty()) {
    directory_.get_endpoint(key.dc, key.slot, deadline, std::move(done), std::move(watcher));
  } else {
    directory_.resolve(key.dc, key.name, deadline, std::move(done), std::move(watcher));
  }
}

void DirectoryCache::on_read(const Key& key, bool watched,
                             coord::Result<coord::EndpointEntry> result) {
  const auto found = entries_.find(key);
  if (found == entries_.end()) return;
  Entry& entry = found->second;
  entry.reading = false;
  const bool absent = !result && (result.error().code == coord::Errc::name_unknown ||
                                  result.error().code == coord::Errc::endpoint_stale);
  auto readers = std::exchange(entry.readers, {});
  if (!result && !absent) {
    const Error error = to_error(result.error());
    auto again = std::exchange(entry.next_readers, {});
    if (result.error().code == coord::Errc::dc_unknown) {
      // Nothing to wait for any more.
      auto waits = std::exchange(entry.bound_waits, {});
      std::move(entry.unbound_waits.begin(), entry.unbound_waits.end(), std::back_inserter(waits));
      std::move(again.begin(), again.end(), std::back_inserter(readers));
      if (entry.absent_watch) --armed_absent_;
      entries_.erase(found);
      for (auto& wait : waits) {
        waits_.erase({wait.session, wait.number});
        wait.done(tl::make_unexpected(error));
      }
    } else if (!again.empty()) {
      entry.readers = std::move(again);
      read(key, entry, coord::after(kBackgroundLimit));
    } else if (entry.wanted()) {
      read_later(key);
    }
    for (auto& reader : readers) reader(tl::make_unexpected(error));
    if (const auto left = entries_.find(key); left != entries_.end() && !left->second.wanted() &&
                                              !left->second.armed && !left->second.reading &&
                                              !left->second.read) {
      entries_.erase(left);
    }
    return;
  }

  if (watched) entry.armed = !entry.overtaken;
  const Known fresh = absent ? nullptr : make_known(key.dc, std::move(result->record));
  if (watched && absent && entry.armed) {
    entry.absent_watch = true;
    ++armed_absent_;
  }
  apply(key, entry, fresh);
  // What was asked while this was read may be about something newer, unless there is an owner.
  if (fresh && fresh->alive()) {
    std::move(entry.next_readers.begin(), entry.next_readers.end(), std::back_inserter(readers));
    entry.next_readers.clear();
  }
  for (auto& reader : readers) reader(fresh);
  const auto left = entries_.find(key);
  if (left == entries_.end() || left->second.reading) return;
  if (!left->second.next_readers.empty()) {
    left->second.readers = std::exchange(left->second.next_readers, {});
    read(key, left->second, coord::after(kBackgroundLimit));
  } else if (!left->second.armed) {
    if (left->second.wanted()) {
      read(key, left->second, coord::after(kBackgroundLimit));
    } else {
      entries_.erase(left);
    }
  }
}

void DirectoryCache::on_watch(const Key& key) {
  const auto found = entries_.find(key);
  if (found == entries_.end()) return;
  Entry& entry = found->second;
  if (std::exchange(entry.absent_watch, false)) --armed_absent_;
  entry.armed = false;
  if (entry.reading) {
    // The watch that read set may be this one: a look-up takes several steps, and the first of them
    // sets it. Its answer says that it reads again.
    entry.overtaken = true;
    return;
  }
  if (!entry.wanted()) {
    entries_.erase(found);
  } else if (entry.current && entry.current->alive() && entry.bound_waits.empty() &&
             entry.unbound_waits.empty()) {
    settle(key);
  } else {
    read(key, entry, coord::after(kBackgroundLimit));
  }
}

void DirectoryCache::settle(const Key& key) {
  loop_.after(kSettled, [this, key, alive = lifetime_.token()] {
    const auto found = *alive ? entries_.find(key) : entries_.end();
    if (found == entries_.end()) return;
    Entry& entry = found->second;
    if (std::exchange(entry.untold, false) && entry.current) push(entry, *entry.current);
    if (!entry.armed && !entry.reading && entry.wanted()) {
      read(key, entry, coord::after(kBackgroundLimit));
    }
  });
}

void DirectoryCache::read_later(const Key& key) {
  stale_.insert(key);
  if (retry_ != 0) return;
  retry_ = loop_.after(kRetry, [this] {
    retry_ = 0;
    read_stale();
  });
}

void DirectoryCache::on_connected() {
  loop_.cancel(retry_);
  read_stale();
}

void DirectoryCache::read_stale() {
  const auto stale = std::exchange(stale_, {});
  for (const Key& key : stale) {
    const auto found = entries_.find(key);
    if (found == entries_.end() || found->second.reading) continue;
    read(key, found->second, coord::after(kBackgroundLimit));
  }
}

// --- Changes ------------------------------------------------------------------------------------

void DirectoryCache::saw(const Known& endpoint) {
  const auto tell = [&](const Key& key) {
    const auto found = entries_.find(key);
    if (found == entries_.end() || !found->second.current ||
        found->second.current->id() != endpoint->id()) {
      return;
    }
    apply(key, found->second, endpoint);
  };
  tell(Key{endpoint->dc, "", endpoint->record.slot()});
  if (!endpoint->record.name().empty()) tell(Key{endpoint->dc, endpoint->record.name()});
}

void DirectoryCache::apply(const Key& key, Entry& entry, const Known& fresh) {
  // A reading may be overtaken by what this node knew before it; an epoch never falls.
  if (fresh && entry.current && fresh->id() == entry.current->id() &&
      fresh->record.epoch() < entry.current->record.epoch()) {
    return answer_waits(entry);
  }
  const Known former = std::exchange(entry.current, fresh);
  entry.read = true;
  if (former && former->alive() && (!fresh || fresh->id() != former->id())) {
    push(entry, *former->with_state(coord::proto::UNBOUND));
  }
  const bool moved = former && fresh && former->alive() && fresh->alive() &&
                     former->id() == fresh->id() && !same(*former, *fresh);
  if (moved) {
    if (!std::exchange(entry.untold, true)) settle(key);
  } else if (fresh && (!former || !same(*former, *fresh))) {
    entry.untold = false;
    push(entry, *fresh);
  }
  answer_waits(entry);
}

void DirectoryCache::push(Entry& entry, const KnownEndpoint& endpoint) {
  std::erase_if(entry.subscribers,
                [&](SessionNumber session) { return !push_(session, endpoint); });
}

void DirectoryCache::answer_waits(Entry& entry) {
  const bool alive = entry.current && entry.current->alive();
  auto waits = std::exchange(alive ? entry.bound_waits : entry.unbound_waits, {});
  for (const Wait& wait : waits) {
    waits_.erase({wait.session, wait.number});
    if (alive) add_subscriber(entry, wait.session);
  }
  const Known current = entry.current;
  for (Wait& wait : waits) wait.done(current);
}

}  // namespace godwit::node
