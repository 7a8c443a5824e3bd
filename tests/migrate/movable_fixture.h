// What the tests of Movable share: a server with state that moves, clients that call it all along,
// and a hand that plays the other process of a move. The agent is scripted (scripted_agent.h).
#pragma once

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "godwit/godwit.h"
#include "godwit/movable.h"
#include "migrate/scripted_agent.h"
#include "support/agent_process.h"

namespace godwit::migrate_tests {

using namespace std::chrono_literals;
using fabric::TransportKind;

inline constexpr std::uint32_t kClients = 4;
inline constexpr std::uint32_t kEndpoints = 2;

/// What clients send. `add` and `note` are numbered from 1 for each client and endpoint.
struct Operation {
  enum Kind : std::uint32_t {
    add,    // a call
    note,   // a message
    hold,   // a call that is answered when the test says so
    grant,  // a call for a GrantRef to the first page
  };
  std::uint32_t kind;
  std::uint32_t client;
  std::uint64_t number;
};

/// Counts, and can be waited for. Any thread.
class Count {
 public:
  void operator+=(std::uint64_t more) {
    const std::lock_guard lock(mutex_);
    value_ += more;
    changed_.notify_all();
  }
  void operator++() { *this += 1; }
  std::uint64_t value() const {
    const std::lock_guard lock(mutex_);
    return value_;
  }
  /// Until it has come so far. False: in vain.
  bool wait(std::uint64_t least) const {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, kLong, [&] { return value_ >= least; });
  }

 private:
  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  std::uint64_t value_ = 0;
};

/// A State: pages, and the last number of each client. Its thread is the server's; what is atomic
/// is for the test.
class Ledger final : public State {
 public:
  static constexpr std::size_t kPage = 4096;

  explicit Ledger(std::size_t pages) : memory_(pages * kPage), dirty_(pages, false) {}

  /// Set before the move: what goes wrong, with the text "no luck".
  enum class Fault { none, save, rest, load, loaded };
  std::atomic<Fault> fault{Fault::none};
  std::atomic<std::uint32_t> format{1};
  /// On the server's thread, after each slice and when all is loaded.
  std::function<void()> while_saving;
  std::function<Result<void>(Movable&)> when_loaded;

  Count begun, resets, wrong, put_bytes;
  std::atomic<std::uint64_t> saved_hash{0}, loaded_hash{0};  // at save_rest(), at loaded()

  void execute(std::uint32_t endpoint, const Operation& operation);
  void touch(std::size_t page);
  std::size_t pages() const { return dirty_.size(); }
  std::span<std::byte> page(std::size_t number) {
    return std::span(memory_).subspan(number * kPage, kPage);
  }
  /// The last number of a client. After the server's end, or on its thread.
  std::uint64_t last(Operation::Kind kind, std::uint32_t endpoint, std::uint32_t client) {
    return account(kind, endpoint, client);
  }

  // State
  std::uint32_t version() const override { return format; }
  void begin() override;
  Result<void> save(StateWriter& writer) override;
  std::uint64_t unsaved() const override { return unsaved_ * kPage; }
  Result<void> save_rest(StateWriter& writer) override;
  Result<void> load(std::uint32_t version, std::uint32_t kind, Bytes record) override;
  Result<void> loaded(Movable& movable) override;
  void reset() override;

 private:
  std::uint64_t hash() const;
  void save_one(StateWriter& writer);
  std::uint64_t& account(Operation::Kind kind, std::uint32_t endpoint, std::uint32_t client) {
    return accounts_[(kind * kEndpoints + endpoint) * kClients + client];
  }

  std::vector<std::byte> memory_;
  std::array<std::uint64_t, 2 * kEndpoints * kClients> accounts_{};
  std::vector<bool> dirty_;
  std::size_t unsaved_ = 0;
  std::size_t next_ = 0;
};

struct ServerOptions {
  std::vector<std::string> names = {"demo/kv"};
  bool stand_by = false;
  std::size_t pages = 16;  // 0: it has no State
  migrate::Limits limits{};
  std::optional<TransportKind> transport{};
};

/// A process of its own (for the agent), with a Movable, on a thread of its own.
class Server {
 public:
  /// Returns when it is attached; its first serve() is under way.
  Server(const std::string& run, ServerOptions options);
  ~Server() { stop(); }

  ProcessId id() const { return id_; }
  Ledger& ledger() { return ledger_; }
  /// Until serve() has returned so often.
  bool wait_serving(std::uint64_t times) { return arrivals.wait(times); }
  /// Answers the requests that were to be held.
  void release();
  void stop();

  Count arrivals, executed, held, left;

 private:
  void run(const std::string& run, std::stop_token stop);
  void serve(Movable& movable, std::stop_token stop);
  void handle(std::uint32_t endpoint, Message message);

  const ServerOptions options_;
  Ledger ledger_;
  Movable* movable_ = nullptr;
  ProcessId id_ = 0;
  Count ready_;
  std::mutex held_mutex_;
  std::vector<std::pair<std::uint32_t, Request>> held_;
  std::jthread thread_;
};

/// A process that sends a note and makes a call to each name in turn, until it is told to stop.
class Client {
 public:
  Client(std::string run, std::uint32_t number, std::vector<std::string> names,
         std::optional<TransportKind> transport = {});
  ~Client() { stop(); }

  /// Until so many more rounds are done.
  bool wait_more(std::uint64_t rounds) { return rounds_.wait(rounds_.value() + rounds); }
  /// Until everything was received. How many rounds were done.
  std::uint64_t stop();
  const std::string& error() const { return error_; }

 private:
  void run(const std::string& run, std::optional<TransportKind> transport, std::stop_token stop);

  const std::uint32_t number_;
  const std::vector<std::string> names_;
  Count rounds_;
  std::string error_;
  std::jthread thread_;
};

/// The test's own process: a dock that it reads when it likes, or a source that sends what it
/// likes. Test's thread.
class Hand {
 public:
  explicit Hand(const std::string& run, std::optional<TransportKind> transport = {});

  EndpointId id() const { return endpoint_->id(); }
  Process& process() { return *process_; }
  Endpoint& endpoint() { return *endpoint_; }
  using Pieces = std::vector<std::string>;
  /// Receives pieces until it is told to stop.
  Pieces take(std::stop_token stop);
  /// Until the state is whole, which began with `pieces`.
  Pieces take(MoveId move, Pieces pieces = {});
  /// Sends pieces to a dock, and waits until they are received, or it is enough.
  void send(
      EndpointId dock, const Pieces& pieces,
      const std::function<bool()>& enough = [] { return false; });
  /// The dock is gone.
  void unbind() { endpoint_.reset(); }

 private:
  std::unique_ptr<Process> process_;
  std::optional<Endpoint> endpoint_;
};

EndpointId dock_of(const MoveReport& report);

class MovableTest : public ::testing::Test {
 protected:
  using ServerPtr = std::unique_ptr<Server>;

  ServerPtr start(ServerOptions options = {}) {
    auto server = std::make_unique<Server>(agent_.run(), options);
    if (options.stand_by) {
      EXPECT_EQ(agent_.next_stand_by(server->id()).program(), "kv");
    } else {
      EXPECT_TRUE(server->wait_serving(1));
    }
    return server;
  }
  ServerPtr start_standby(ServerOptions options = {}) {
    options.stand_by = true;
    return start(std::move(options));
  }

  /// The steps of a move, as the agents push them.
  EndpointId dock(Server& target, MoveId move);
  void copy(Server& source, MoveId move, Epoch epoch, EndpointId dock);
  MoveReport restore(Server& source, Server& target, MoveId move);
  struct Ends {
    MoveReport converged, restored, target, source;
  };
  /// All of them, from `epoch` to the next.
  Ends move(MoveId move, Server& source, Server& target, Epoch epoch,
            const std::vector<std::string>& names = {"demo/kv"});
  /// Copies to the hand until little is left. The state so far.
  Hand::Pieces converge(Server& source, Hand& hand, MoveId move, Epoch epoch = 1);
  /// And closes: the source is parked. The whole state.
  Hand::Pieces park(Server& source, Hand& hand, MoveId move, Epoch epoch = 1);

  test_support::TemporaryFolder folder_;
  ScriptedAgent agent_{folder_.path()};
};

}  // namespace godwit::migrate_tests
