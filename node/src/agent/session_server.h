// SessionServer: the agent's Unix socket and the connections of processes and command lines: bytes
// in and out, limits, nothing of what the messages mean.
//
// Owner: the Agent. Loop's thread. A session is known to everybody else by its number, so an answer
// that comes after its end goes nowhere.
//
// What comes in is not trusted: a message that is none ends its session alone. A session that does
// not read its answers, or has too many requests open, is not read from until that is better; one
// whose unread answers pass a limit is ended.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "agent/event_loop.h"
#include "godwit/agent_protocol.h"
#include "godwit/endpoints/agent.pb.h"

namespace godwit::node {

using SessionNumber = std::uint64_t;  // 0: none

struct Session {
  SessionNumber number = 0;
  std::uint32_t pid = 0, uid = 0;  // of the peer, as the kernel says
  bool hello_done = false;
  std::uint64_t process = 0;        // 0: administrative
  std::set<std::uint32_t> granted;  // DCs whose key it has
};

class SessionServer {
 public:
  class Handler {
   public:
    virtual void on_request(Session& session, endpoints::proto::Request& request) = 0;
    /// The session is no longer found from here on.
    virtual void on_session_closed(const Session& session) = 0;

   protected:
    ~Handler() = default;
  };

  static Result<std::unique_ptr<SessionServer>> open(EventLoop& loop, const std::string& path,
                                                     unsigned mode, Handler& handler);
  /// Removes the socket.
  ~SessionServer();

  Session* find(SessionNumber number);
  /// Sends an answer or a push; false if the session is gone.
  bool send(SessionNumber number, const endpoints::proto::Response& response);
  /// The Session itself stays valid until the loop's next round.
  void close(SessionNumber number);
  /// Writes out what is queued, as far as it goes at once.
  void flush_all();
  /// Writes out what is queued for a session ahead of the end of the loop's round. It closes
  /// nothing: a connection that fails is found then.
  void hurry(SessionNumber number);
  std::uint64_t requests() const noexcept { return requests_; }

 private:
  struct Connection {
    Session session;
    int fd = -1;
    agent_protocol::MessageReader reader;
    std::string out;
    std::size_t sent = 0;
    std::size_t open_requests = 0;
    std::uint32_t watching = EPOLLIN;
    bool dirty = false;
    EventLoop::TimerId hello_timer = 0;
  };

  SessionServer(EventLoop& loop, int fd, std::string path, Handler& handler)
      : loop_(loop), fd_(fd), path_(std::move(path)), handler_(handler) {}
  void accept();
  void on_event(SessionNumber number, std::uint32_t events);
  void read(SessionNumber number);
  Result<void> handle(SessionNumber number);
  void write(SessionNumber number);
  static bool write_out(Connection& connection);
  void update(Connection& connection);

  EventLoop& loop_;
  const int fd_;
  const std::string path_;
  Handler& handler_;
  SessionNumber next_ = 1;
  std::unordered_map<SessionNumber, std::unique_ptr<Connection>> connections_;
  std::vector<SessionNumber> dirty_;
  std::vector<std::unique_ptr<Connection>> ended_;  // until the loop's next round
  EventLoop::TimerId resume_ = 0;
  std::uint64_t requests_ = 0;
};

}  // namespace godwit::node
