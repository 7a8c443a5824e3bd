#include "zookeeper_handle.h"

#include <spdlog/spdlog.h>
#include <zookeeper/zookeeper.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace godwit::coord {
namespace {

godwit::coord::Stat stat_of(const ::Stat* from) {
  godwit::coord::Stat stat;
  stat.version = from->version;
  stat.created = static_cast<std::uint64_t>(from->czxid);
  stat.ephemeral_owner = static_cast<SessionId>(from->ephemeralOwner);
  stat.children = from->numChildren;
  return stat;
}

void log_message(const char* message) {
  spdlog::debug("zookeeper client: {}", message);
}

void on_watch(zhandle_t* handle, int type, int /*state*/, const char* /*path*/, void* context) {
  // Session events go to every watcher too; the session's own handler has them.
  if (type == ZOO_SESSION_EVENT) return;
  const auto* events = static_cast<const ZooKeeperHandle::Events*>(zoo_get_context(handle));
  events->watch(reinterpret_cast<std::uintptr_t>(context));
}

void on_session(zhandle_t* handle, int type, int state, const char* /*path*/, void* /*context*/) {
  if (type != ZOO_SESSION_EVENT) return;
  using State = ZooKeeperHandle::State;
  State seen = State::connecting;
  if (state == ZOO_CONNECTED_STATE) seen = State::connected;
  if (state == ZOO_EXPIRED_SESSION_STATE) seen = State::expired;
  if (state == ZOO_AUTH_FAILED_STATE) seen = State::auth_failed;
  const auto* events = static_cast<const ZooKeeperHandle::Events*>(zoo_get_context(handle));
  events->session(seen, static_cast<SessionId>(zoo_client_id(handle)->client_id));
}

void* watch_context(std::uint64_t watch) {
  return reinterpret_cast<void*>(static_cast<std::uintptr_t>(watch));
}

}  // namespace

AnswerKind kind_of(int rc) {
  switch (rc) {
    case ZOK:
      return AnswerKind::ok;
    case ZCONNECTIONLOSS:
    case ZOPERATIONTIMEOUT:
    case ZINVALIDSTATE:
    case ZCLOSING:
    case ZSESSIONEXPIRED:
    case ZSESSIONMOVED:
    case ZTHROTTLEDOP:
      return AnswerKind::lost;
    default:
      return AnswerKind::refused;
  }
}

Error error_of(int rc, std::string_view path, int failed_op) {
  Errc code = Errc::io_error;
  switch (rc) {
    case ZNONODE:
      code = Errc::no_node;
      break;
    case ZNODEEXISTS:
      code = Errc::node_exists;
      break;
    case ZBADVERSION:
      code = Errc::bad_version;
      break;
    case ZNOTEMPTY:
      code = Errc::not_empty;
      break;
    case ZNOCHILDRENFOREPHEMERALS:
      code = Errc::no_children_for;
      break;
    case ZBADARGUMENTS:
      code = Errc::bad_argument;
      break;
    case ZNOAUTH:
    case ZINVALIDACL:
    case ZAUTHFAILED:
      code = Errc::auth_failed;
      break;
    default:
      break;
  }
  return Error{code, std::string(path) + ": " + zerror(rc), failed_op};
}

std::string prefixed_path(const std::string& prefix, const std::string& path) {
  return path == "/" && !prefix.empty() ? prefix : prefix + path;
}

void ZooKeeperHandle::Outstanding::add(std::unique_ptr<Request> request) {
  std::lock_guard lock(mutex_);
  requests_.emplace(request.get(), std::move(request));
}

std::unique_ptr<ZooKeeperHandle::Outstanding::Request> ZooKeeperHandle::Outstanding::take(
    const Request* request) {
  std::lock_guard lock(mutex_);
  return std::move(requests_.extract(request).mapped());
}

void ZooKeeperHandle::Outstanding::fail_all(int rc) {
  for (auto& [key, request] : std::exchange(requests_, {})) request->fail(rc);
}

template <typename... Values>
struct ZooKeeperHandle::PendingRead : Outstanding::Request {
  PendingRead(Outstanding& outstanding, std::function<void(int, Values...)> done)
      : Request(outstanding), answer(std::move(done)) {}
  void fail(int rc) override { answer(rc, Values{}...); }

  std::function<void(int, Values...)> answer;
};

// Has what the C client writes results into until the completion.
struct ZooKeeperHandle::PendingWrite : Outstanding::Request {
  PendingWrite(Outstanding& outstanding, std::size_t ops, WriteAnswer done)
      : Request(outstanding), answer(std::move(done)), results(ops), stats(ops) {}
  void fail(int rc) override { complete(rc); }
  void complete(int rc) const {
    int failed_op = -1;
    std::vector<std::int32_t> versions(stats.size(), 0);
    for (std::size_t i = 0; i < stats.size(); ++i) {
      versions[i] = stats[i].version;
      // The ops after the one that failed say "inconsistency", those before it ok.
      const int err = results[i].err;
      if (rc != ZOK && failed_op < 0 && err != ZOK && err != ZRUNTIMEINCONSISTENCY &&
          kind_of(rc) == AnswerKind::refused) {
        failed_op = static_cast<int>(i);
        rc = err;
      }
    }
    answer(rc, failed_op, std::move(versions));
  }

  WriteAnswer answer;
  std::vector<zoo_op_result_t> results;
  std::vector<::Stat> stats;
};

template <typename Request, typename Submit>
bool ZooKeeperHandle::hand_over(std::unique_ptr<Request> request, Submit submit) {
  // Known before it is submitted: its completion may come before the call returns.
  Request* const context = request.get();
  outstanding_.add(std::move(request));
  if (submit(static_cast<const void*>(context)) == ZOK) return true;
  outstanding_.take(context);
  return false;
}

template <typename Request>
std::unique_ptr<Request> ZooKeeperHandle::completed(const void* context) {
  auto* const request = static_cast<Request*>(const_cast<void*>(context));
  static_cast<void>(request->among.take(request).release());
  return std::unique_ptr<Request>(request);
}

ZooKeeperHandle::ZooKeeperHandle(Events events, bool authenticated)
    : events_(std::move(events)), authenticated_(authenticated) {}

Result<std::unique_ptr<ZooKeeperHandle>> ZooKeeperHandle::open(const Options& options,
                                                               Events events) {
  zoo_set_debug_level(ZOO_LOG_LEVEL_WARN);
  const bool authenticated = !options.digest_credentials.empty();
  std::unique_ptr<ZooKeeperHandle> opened(new ZooKeeperHandle(std::move(events), authenticated));
  opened->handle_ = zookeeper_init2(options.servers.c_str(), on_session,
                                    static_cast<int>(options.session_timeout.count()), nullptr,
                                    &opened->events_, ZOO_NO_LOG_CLIENTENV, log_message);
  if (opened->handle_ == nullptr) {
    const int error = errno;
    return fail(error == EINVAL ? Errc::bad_argument : Errc::unavailable,
                "ZooKeeper servers '" + options.servers + "': " + std::strerror(error));
  }
  if (authenticated)
    zoo_add_auth(opened->handle_, "digest", options.digest_credentials.data(),
                 static_cast<int>(options.digest_credentials.size()), nullptr, nullptr);
  return opened;
}

ZooKeeperHandle::~ZooKeeperHandle() {
  if (handle_ == nullptr) return;
  if (const int rc = zookeeper_close(handle_); rc != ZOK)
    spdlog::debug("coord: closing a ZooKeeper session: {}", zerror(rc));
  outstanding_.fail_all(ZCLOSING);  // its threads have ended: nothing completes any more
}

bool ZooKeeperHandle::write(const std::string& prefix, const std::vector<WriteOp>& ops,
                            WriteAnswer answer) {
  auto request = std::make_unique<PendingWrite>(outstanding_, ops.size(), std::move(answer));
  // The client serialises the operations before it returns; they need live no longer.
  std::vector<zoo_op_t> raw(ops.size());
  std::vector<std::string> paths(ops.size());
  const ACL_vector* acl = authenticated_ ? &ZOO_CREATOR_ALL_ACL : &ZOO_OPEN_ACL_UNSAFE;
  for (std::size_t i = 0; i < ops.size(); ++i) {
    paths[i] = prefixed_path(prefix, std::visit([](const auto& op) { return op.path; }, ops[i]));
    const char* path = paths[i].c_str();
    if (const auto* create = std::get_if<CreateOp>(&ops[i])) {
      const int flags = create->mode == CreateMode::ephemeral ? ZOO_EPHEMERAL : 0;
      zoo_create_op_init(&raw[i], path, create->data.data(), static_cast<int>(create->data.size()),
                         acl, flags, nullptr, 0);
    } else if (const auto* set = std::get_if<SetOp>(&ops[i])) {
      zoo_set_op_init(&raw[i], path, set->data.data(), static_cast<int>(set->data.size()),
                      set->expected.number(), &request->stats[i]);
    } else if (const auto* remove = std::get_if<RemoveOp>(&ops[i])) {
      zoo_delete_op_init(&raw[i], path, remove->expected.number());
    } else {
      zoo_check_op_init(&raw[i], path, std::get<CheckOp>(ops[i]).expected.number());
    }
  }
  zoo_op_result_t* results = request->results.data();
  return hand_over(std::move(request), [&](const void* context) {
    return zoo_amulti(
        handle_, static_cast<int>(raw.size()), raw.data(), results,
        [](int rc, const void* data) { completed<PendingWrite>(data)->complete(rc); }, context);
  });
}

bool ZooKeeperHandle::get(const std::string& path, std::uint64_t watch, GetAnswer answer) {
  auto request = std::make_unique<PendingRead<Record>>(outstanding_, std::move(answer));
  return hand_over(std::move(request), [&](const void* context) {
    return zoo_awget(
        handle_, path.c_str(), watch == 0 ? nullptr : on_watch, watch_context(watch),
        [](int rc, const char* value, int size, const ::Stat* stat, const void* data) {
          Record record;
          if (rc == ZOK) {
            if (size > 0) record.data.assign(value, static_cast<std::size_t>(size));
            record.stat = stat_of(stat);
          }
          completed<PendingRead<Record>>(data)->answer(rc, std::move(record));
        },
        context);
  });
}

bool ZooKeeperHandle::list(const std::string& path, std::uint64_t watch, ListAnswer answer) {
  auto request = std::make_unique<PendingRead<Children>>(outstanding_, std::move(answer));
  return hand_over(std::move(request), [&](const void* context) {
    return zoo_awget_children2(
        handle_, path.c_str(), watch == 0 ? nullptr : on_watch, watch_context(watch),
        [](int rc, const String_vector* names, const ::Stat* stat, const void* data) {
          Children children;
          if (rc == ZOK) {
            children.names.assign(names->data, names->data + names->count);
            children.stat = stat_of(stat);
          }
          completed<PendingRead<Children>>(data)->answer(rc, std::move(children));
        },
        context);
  });
}

bool ZooKeeperHandle::exists(const std::string& path, std::uint64_t watch, Answer answer) {
  auto request = std::make_unique<PendingRead<>>(outstanding_, std::move(answer));
  return hand_over(std::move(request), [&](const void* context) {
    return zoo_awexists(
        handle_, path.c_str(), watch == 0 ? nullptr : on_watch, watch_context(watch),
        [](int rc, const ::Stat* /*stat*/, const void* data) {
          completed<PendingRead<>>(data)->answer(rc);
        },
        context);
  });
}

bool ZooKeeperHandle::sync(const std::string& path, Answer answer) {
  auto request = std::make_unique<PendingRead<>>(outstanding_, std::move(answer));
  return hand_over(std::move(request), [&](const void* context) {
    return zoo_async(
        handle_, path.c_str(),
        [](int rc, const char* /*path*/, const void* data) {
          completed<PendingRead<>>(data)->answer(rc);
        },
        context);
  });
}

}  // namespace godwit::coord
