// Link: the background thread behind an AgentLink. It keeps a connection to the agent, and every
// request until its answer, across reconnects.
//
// Threads: ask(), forget(), post() and the cache from any thread; all answers, and the listener, on
// the link's own. What is marked so belongs to that thread.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <shared_mutex>
#include <string>
#include <string_view>
#include <thread>
#include <unordered_map>
#include <vector>

#include "agent_link/agent_socket.h"
#include "agent_link/place_cache.h"
#include "godwit/agent_link.h"
#include "godwit/endpoints/agent.pb.h"

namespace godwit::agent_link {

using Clock = std::chrono::steady_clock;
using endpoints::proto::Request;
using endpoints::proto::Response;

class Link {
 public:
  using Answer = std::function<void(Result<Response>)>;

  explicit Link(AgentLinkOptions options);
  /// Detaches; answers what is pending with `closed`.
  ~Link();
  Link(const Link&) = delete;
  Link& operator=(const Link&) = delete;

  /// Starts the thread and waits for the first contact.
  Result<void> start();

  enum class Limit { timed, unlimited };
  /// Sends a request now, or as soon as there is an agent, again after each reconnect, until it is
  /// answered. Returns its number.
  std::uint64_t ask(Request request, Limit limit, Answer answer);
  /// Ends a wait: its answer is `cancelled`.
  void cancel(std::uint64_t number);
  /// Runs a task on the link's thread.
  void post(std::function<void()> task);
  /// The same, but before the next word of the agent, or the loss of it, at the latest: it does not
  /// wake the thread.
  void note(std::function<void()> task);

  /// Sends a request if there is an agent now, once; its answer is not heard.
  void tell(Request request);

  void set_listener(Resolver::Listener* listener);
  void set_move_handler(AgentLink::MoveHandler* handler);

  PlaceCache& cache() noexcept { return cache_; }
  std::optional<fabric::DcKey> key(std::uint32_t dc) const;
  std::optional<std::uint32_t> dc_id(std::string_view name) const;

  const AgentLinkOptions& options() const noexcept { return options_; }
  std::uint64_t process() const noexcept { return process_; }
  std::uint64_t next_nonce();
  bool connected() const noexcept { return connected_; }
  endpoints::proto::HelloReply agent() const;

  // Link's thread: the endpoints of this process, which a new agent is told of.
  void hold(const EndpointPlace& place);
  void release(const EndpointId& id);

 private:
  struct Pending {
    Request request;
    Limit limit;
    Clock::time_point deadline;
    Answer answer;
    bool sent;  // on this connection or one before
  };

  void run();
  void wake();
  bool try_connect();
  void disconnected(const Error& why);
  void serve_until(Clock::time_point wake_at);
  void drain_wake();
  Result<void> on_message(std::string_view bytes);
  Result<void> on_hello(const Response& response);
  void on_response(Response response);
  void on_changed(const EndpointPlace& place);
  void take_grants(const Response& response);
  void queue_claims();
  void queue_subscriptions();
  void queue_pending();
  void stamp_timeout(Pending& pending, Clock::time_point now) const;
  void expire(Clock::time_point now);
  void run_posted();
  void finish(std::uint64_t number, Result<Response> result);
  void give_back(const Response& response);
  void notify_agent(bool available);
  void detach();
  Error unavailable(std::string_view how) const;

  const AgentLinkOptions options_;
  const std::string socket_path_;
  const std::uint64_t process_;
  std::atomic<std::uint64_t> nonce_;

  std::mutex mutex_;
  std::uint64_t next_number_ = 1;
  std::map<std::uint64_t, Pending> pending_;
  std::deque<std::pair<Clock::time_point, std::uint64_t>> deadlines_;  // in order: one time limit
  std::string outgoing_;  // for the present connection, once it is ready
  bool ready_ = false;    // requests may be written
  int direct_fd_ = -1;    // the socket's, while nothing waits to be written to it
  bool sending_ = false;  // a thread writes to it, without the lock
  std::condition_variable sent_;
  std::vector<std::function<void()>> posted_;
  bool closing_ = false;
  bool started_ = false;  // the first contact was made, or start_error_ says why not
  std::optional<Error> start_error_;
  std::condition_variable start_done_;

  std::recursive_mutex listener_mutex_;  // recursive: a listener may remove itself
  Resolver::Listener* listener_ = nullptr;
  AgentLink::MoveHandler* move_handler_ = nullptr;

  mutable std::shared_mutex facts_mutex_;
  endpoints::proto::HelloReply agent_;
  std::unordered_map<std::uint32_t, fabric::DcKey> keys_;
  std::map<std::string, std::uint32_t, std::less<>> dc_ids_;

  std::atomic<bool> connected_{false};
  std::atomic<bool> wake_pending_{false};
  int wake_fd_;
  PlaceCache cache_;

  // Link's thread.
  std::optional<AgentSocket> socket_;
  bool hello_done_ = false;
  bool attached_before_ = false;
  std::optional<Clock::time_point> hello_deadline_;
  std::uint64_t claim_number_ = 0;
  std::string last_failure_;
  std::unordered_map<EndpointId, EndpointPlace, EndpointIdHash> held_;
  std::set<std::uint64_t> abandoned_;  // binds whose asker was told that they failed
  std::thread thread_;
};

}  // namespace godwit::agent_link
