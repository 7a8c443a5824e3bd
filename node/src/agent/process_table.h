// ProcessTable: the processes attached to this agent and the endpoints they hold.
//
// A process is gone when its pidfd says so, when it detaches, or when its connection broke and it
// did not attach again within the grace (it lives, but has given up on us). Then its endpoints are
// handed to `gone`, once.
//
// Owner: the Agent. Loop's thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>

#include "agent/event_loop.h"
#include "agent/known_endpoint.h"
#include "agent/session_server.h"

namespace godwit::node {

struct HeldEndpoint {
  Known endpoint;
  std::uint64_t nonce = 0;  // of the bind that made it, and its place therein
  std::uint32_t index = 0;
  bool delivered = false;  // the process is known to have it: it claimed it
};

struct Process {
  std::uint64_t number = 0;
  std::uint32_t pid = 0, uid = 0;
  std::string program;
  std::int64_t attached_unix_ms = 0;
  SessionNumber session = 0;  // 0: its connection broke
  bool claiming = false;      // attached again; its claims are not complete
  std::unordered_map<EndpointId, HeldEndpoint, EndpointIdHash> held;
  std::size_t binds_in_flight = 0;
};

enum class ProcessEnd : std::uint8_t { detached, died };

class ProcessTable {
 public:
  using Gone = std::function<void(Process& process, ProcessEnd end)>;

  ProcessTable(EventLoop& loop, std::chrono::milliseconds reattach_grace, Gone gone);
  ~ProcessTable();

  /// Takes a session as that of the process. Answers the session that it replaces, if any. Errors:
  /// name_taken (another process has that number), system (it is gone already).
  Result<SessionNumber> attach(Session& session, const endpoints::proto::Hello& hello);
  void detach(std::uint64_t number);
  void session_closed(const Session& session);

  Process* find(std::uint64_t number);
  std::size_t size() const noexcept { return processes_.size(); }
  std::uint64_t endpoints() const noexcept;
  void for_each(const std::function<void(Process&)>& each);

 private:
  struct Entry {
    Process process;
    int pidfd = -1;
    EventLoop::TimerId grace = 0;
  };

  void end(std::uint64_t number, ProcessEnd how);

  EventLoop& loop_;
  const std::chrono::milliseconds reattach_grace_;
  const Gone gone_;
  std::map<std::uint64_t, std::unique_ptr<Entry>> processes_;
};

/// Whether a process of this machine surely does not exist any more.
bool process_vanished(std::uint32_t pid);

}  // namespace godwit::node
