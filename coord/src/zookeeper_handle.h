// ZooKeeperHandle: one handle of ZooKeeper's C client, that is, one session, with
// answers as values. It adds no policy.
//
// Owner: ZooKeeperCoordinator. Requests: its callback thread only. Answers and events
// are called on the C client's completion thread and must only hand over to another
// thread: a request or a close made there would deadlock. Every accepted request is
// answered exactly once, at the latest by the destructor, which may take seconds.
#pragma once

#include <godwit/coord/coordinator.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

struct _zhandle;

namespace godwit::coord {

// A ZooKeeper answer code (ZOO_ERRORS), sorted.
enum class AnswerKind { ok, refused, lost };
AnswerKind kind_of(int rc);
// Of a refusal.
Error error_of(int rc, std::string_view path, int failed_op = -1);

// Where `path` stands below `prefix` (which is empty or has no '/' at its end).
std::string prefixed_path(const std::string& prefix, const std::string& path);

class ZooKeeperHandle {
 public:
  enum class State { connected, connecting, expired, auth_failed };
  struct Events {
    std::function<void(State state, SessionId session)> session;
    std::function<void(std::uint64_t watch)> watch;
  };
  struct Options {
    std::string servers;
    std::chrono::milliseconds session_timeout{};
    std::string digest_credentials;
  };

  // Errors: unavailable (a server's name does not resolve now), bad_argument.
  static Result<std::unique_ptr<ZooKeeperHandle>> open(const Options& options, Events events);
  ZooKeeperHandle(const ZooKeeperHandle&) = delete;
  ZooKeeperHandle& operator=(const ZooKeeperHandle&) = delete;
  ~ZooKeeperHandle();

  // Requests answer false when they were not accepted (the handle is unusable); then
  // the callback is not called. `watch` 0: none. Data is as stored.
  using WriteAnswer =
      std::function<void(int rc, int failed_op, std::vector<std::int32_t> versions)>;
  bool write(const std::string& prefix, const std::vector<WriteOp>& ops, WriteAnswer answer);
  using GetAnswer = std::function<void(int rc, Record record)>;
  bool get(const std::string& path, std::uint64_t watch, GetAnswer answer);
  using ListAnswer = std::function<void(int rc, Children children)>;
  bool list(const std::string& path, std::uint64_t watch, ListAnswer answer);
  using Answer = std::function<void(int rc)>;
  bool exists(const std::string& path, std::uint64_t watch, Answer answer);
  // Makes the server catch up with the leader before what is requested next.
  bool sync(const std::string& path, Answer answer);

 private:
  ZooKeeperHandle(Events events, bool authenticated);

  Events events_;
  bool authenticated_;
  _zhandle* handle_ = nullptr;
};

}  // namespace godwit::coord
