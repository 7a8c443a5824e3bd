// DirectoryCache: the endpoints that this node's processes resolved, located or wait for, kept true
// by watches; and who is to be told of their changes.
//
// Owner: the Agent. Loop's thread. With the directory away it answers what it knows. An entry lives
// as long as its watch: when that fires and nobody is interested any more, it goes.
#pragma once

#include <compare>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "agent/known_endpoint.h"
#include "agent/on_loop.h"
#include "agent/session_server.h"
#include "godwit/coord/directory.h"
#include "godwit/error.h"

namespace godwit::node {

class DirectoryCache {
 public:
  using Answer = std::function<void(Result<Known>)>;
  /// Tells a session of a change; false: there is no such session any more.
  using Push = std::function<bool(SessionNumber, const KnownEndpoint&)>;

  DirectoryCache(EventLoop& loop, coord::Directory& directory, Push push);
  ~DirectoryCache();

  /// The living owner of a name, else not_found. The session is told of changes from then on.
  void resolve(const std::string& dc, const std::string& name, SessionNumber session,
               coord::Deadline deadline, Answer done);
  /// The record of a slot, read afresh, whatever its state and generation.
  void locate(const std::string& dc, std::uint32_t slot, SessionNumber session,
              coord::Deadline deadline, Answer done);
  /// What a re-attached process knew: looks again, and tells the session if that is no longer so.
  void subscribe(const std::string& dc, const endpoints::proto::Place& known,
                 SessionNumber session);

  /// Answered once; cancel_wait() and drop_session() end a wait without an answer.
  void wait_bound(const std::string& dc, const std::string& name, SessionNumber session,
                  std::uint64_t number, Answer done);
  void wait_unbound(const std::string& dc, const std::string& name, SessionNumber session,
                    std::uint64_t number, Answer done);
  void cancel_wait(SessionNumber session, std::uint64_t number);
  void drop_session(SessionNumber session);

  /// This node knows of a change before the directory does, or read a record on the way.
  void saw(const Known& endpoint);

  /// Entries whose last read failed are read again.
  void on_connected();

  /// Living endpoints somebody waits to be unbound.
  std::vector<Known> awaited_endings() const;
  std::size_t size() const noexcept { return entries_.size(); }

 private:
  struct Key {
    std::string dc;
    std::string name;  // empty: by slot
    std::uint32_t slot = 0;
    auto operator<=>(const Key&) const = default;
  };
  struct Wait {
    SessionNumber session;
    std::uint64_t number;
    Answer done;
  };
  struct Entry {
    Known current;              // nullptr: unknown or unbound
    bool read = false;          // current says something
    bool armed = false;         // a watch is pending
    bool absent_watch = false;  // ... that was set while nobody held the name
    bool reading = false;
    bool overtaken = false;  // a watch fired while reading
    bool untold = false;     // it has moved, and subscribers are told in a moment
    std::vector<SessionNumber> subscribers;
    std::vector<Answer> readers, next_readers;
    std::vector<Wait> bound_waits, unbound_waits;

    bool wanted() const {
      return !subscribers.empty() || !bound_waits.empty() || !unbound_waits.empty() ||
             !readers.empty() || !next_readers.empty();
    }
  };

  void read(const Key& key, Entry& entry, coord::Deadline deadline);
  void on_read(const Key& key, bool watched, coord::Result<coord::EndpointEntry> result);
  void on_watch(const Key& key);
  void apply(const Key& key, Entry& entry, const Known& fresh);
  void push(Entry& entry, const KnownEndpoint& endpoint);
  void answer_waits(Entry& entry);
  void settle(const Key& key);
  void read_later(const Key& key);
  void read_stale();
  static void add_subscriber(Entry& entry, SessionNumber session);

  EventLoop& loop_;
  coord::Directory& directory_;
  const Push push_;
  std::map<Key, Entry> entries_;
  std::map<std::pair<SessionNumber, std::uint64_t>, Key> waits_;
  std::set<Key> stale_;
  std::size_t armed_absent_ = 0;  // watches for names that nobody holds
  EventLoop::TimerId retry_ = 0;
  Lifetime lifetime_;
};

}  // namespace godwit::node
