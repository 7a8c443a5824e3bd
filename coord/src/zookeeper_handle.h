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
#include <mutex>
#include <string>
#include <unordered_map>
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
  // The requests that the C client has not completed. It promises to complete each, but
  // zookeeper_close() may end its completion thread before that has seen all of them.
  class Outstanding {
   public:
    struct Request {
      explicit Request(Outstanding& outstanding) : among(outstanding) {}
      virtual ~Request() = default;
      virtual void fail(int rc) = 0;
      Outstanding& among;
    };
    void add(std::unique_ptr<Request> request);
    std::unique_ptr<Request> take(const Request* request);
    void fail_all(int rc);

   private:
    std::mutex mutex_;
    std::unordered_map<const Request*, std::unique_ptr<Request>> requests_;
  };
  template <typename... Values>
  struct PendingRead;
  struct PendingWrite;

  ZooKeeperHandle(Events events, bool authenticated);
  // Hands `request` to the C client by `submit`, which is given its context and returns a
  // ZooKeeper code. False: not accepted, and the request is gone.
  template <typename Request, typename Submit>
  bool hand_over(std::unique_ptr<Request> request, Submit submit);
  // The request of a completion, which is its owner from then on.
  template <typename Request>
  static std::unique_ptr<Request> completed(const void* context);

  Events events_;
  bool authenticated_;
  Outstanding outstanding_;
  _zhandle* handle_ = nullptr;
};

}  // namespace godwit::coord
