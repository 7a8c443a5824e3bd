// ZooKeeperCoordinator, and the session part of its Impl.
#include <godwit/coord/zookeeper_coordinator.h>

#include "random.h"
#include "record_envelope.h"
#include "zookeeper_impl.h"

#include <spdlog/spdlog.h>
#include <zookeeper/zookeeper.h>

#include <future>
#include <utility>

namespace godwit::coord {
namespace {
// Between tries to make a handle at all (a server's name does not resolve).
constexpr auto kOpenRetry = std::chrono::seconds(1);
}  // namespace

ZooKeeperCoordinator::Impl::Impl(ZooKeeperOptions options, std::string servers, std::string prefix)
    : options_(std::move(options)), servers_(std::move(servers)), prefix_(std::move(prefix)) {
  post([this] { open_session(); });
}

void ZooKeeperCoordinator::Impl::open_session() {
  if (closing_) return;
  const std::uint64_t session = ++session_count_;
  in_flight_ = 0;
  ZooKeeperHandle::Events events;
  events.session = [this, session](ZooKeeperHandle::State state, SessionId id) {
    post([this, session, state, id] { on_state(session, state, id); });
  };
  events.watch = [this](std::uint64_t watch) { post([this, watch] { on_watch(watch); }); };
  auto handle = ZooKeeperHandle::open(
      {servers_, options_.session_timeout, options_.digest_credentials}, std::move(events));
  if (handle) {
    handle_ = std::move(*handle);
    return;
  }
  spdlog::warn("coord: {}", handle.error().message);
  thread_.at(std::chrono::steady_clock::now() + kOpenRetry, [this] { open_session(); });
}

void ZooKeeperCoordinator::Impl::close_session() {
  connected_ = false;
  session_id_ = 0;
  if (handle_ == nullptr) return;
  std::shared_ptr<ZooKeeperHandle> old = std::move(handle_);
  closer_.post([old]() mutable { old.reset(); });
}

void ZooKeeperCoordinator::Impl::on_state(std::uint64_t session, ZooKeeperHandle::State state,
                                          SessionId id) {
  if (session != session_count_ || closing_) return;
  switch (state) {
    case ZooKeeperHandle::State::connected:
      session_id_ = id;
      if (prefix_made_ || prefix_.empty()) {
        on_usable();
      } else {
        make_prefix();
      }
      break;
    case ZooKeeperHandle::State::connecting:
      if (connected_.exchange(false)) emit(SessionEvent::disconnected);
      break;
    case ZooKeeperHandle::State::expired:
      on_expired();
      break;
    case ZooKeeperHandle::State::auth_failed:
      spdlog::error("coord: ZooKeeper refused the credentials");
      auth_failed_ = true;
      if (connected_.exchange(false)) emit(SessionEvent::disconnected);
      give_up_all(Errc::auth_failed, "ZooKeeper refused the credentials");
      break;
  }
}

void ZooKeeperCoordinator::Impl::make_prefix() {
  // The requests are answered in order, so the last answer tells for all. A refusal is
  // an ancestor that exists, or one that this client may not make; if the prefix is
  // really missing, operations say so.
  const std::uint64_t session = session_count_;
  const std::string empty = wrap_record(extend_trail(random_u64(), {}), "");
  std::size_t end = prefix_.find('/', 1);
  for (bool last = false; !last; end = last ? end : prefix_.find('/', end + 1)) {
    last = end == std::string::npos;
    auto answer = [this, session, last](int rc, int, std::vector<std::int32_t>) {
      if (!last || kind_of(rc) == AnswerKind::lost) return;
      post([this, session] {
        if (session != session_count_ || closing_) return;
        prefix_made_ = true;
        on_usable();
      });
    };
    handle_->write("", {CreateOp{prefix_.substr(0, end), empty}}, std::move(answer));
  }
}

void ZooKeeperCoordinator::Impl::on_usable() {
  if (!connected_.exchange(true)) emit(SessionEvent::connected);
  pump();
}

void ZooKeeperCoordinator::Impl::on_expired() {
  if (connected_.exchange(false)) emit(SessionEvent::disconnected);
  close_session();
  open_session();
  emit(SessionEvent::expired);
  auto watches = std::exchange(watches_, {});
  for (auto& [id, watcher] : watches) watcher();
}

void ZooKeeperCoordinator::Impl::emit(SessionEvent event) {
  if (options_.on_session) options_.on_session(event);
}

std::uint64_t ZooKeeperCoordinator::Impl::add_watch(Watcher watcher) {
  watches_.emplace(next_watch_, std::move(watcher));
  return next_watch_++;
}

void ZooKeeperCoordinator::Impl::on_watch(std::uint64_t watch) {
  // Two requests may have armed it, and a read that failed has taken it back.
  auto fired = watches_.extract(watch);
  if (!fired.empty() && !closing_) fired.mapped()();
}

void ZooKeeperCoordinator::Impl::close() {
  if (closed_.exchange(true)) return;
  post([this] {
    closing_ = true;
    close_session();
    give_up_all(Errc::closed, "the coordinator was closed");
    watches_.clear();
  });
  // First thread_ must have handed the handle over, then the handle must be closed (it
  // posts its last answers), then nothing posts any more.
  std::promise<void> handed_over;
  post([&handed_over] { handed_over.set_value(); });
  handed_over.get_future().wait();
  closer_.stop();
  thread_.stop();
}

Result<std::unique_ptr<ZooKeeperCoordinator>> ZooKeeperCoordinator::open(ZooKeeperOptions options) {
  using namespace std::chrono_literals;
  if (options.session_timeout < 100ms || options.session_timeout > 1h)
    return fail(Errc::bad_argument, "session time-out outside 100 ms to 1 h");
  // The C client would hide a prefix of `servers` but not make it; so it is ours.
  const std::size_t slash = options.servers.find('/');
  std::string servers = options.servers.substr(0, slash);
  std::string prefix = slash == std::string::npos ? "" : options.servers.substr(slash);
  prefix += options.prefix;
  if (servers.empty()) return fail(Errc::bad_argument, "no ZooKeeper server is named");
  if (prefix == "/") prefix.clear();
  if (!prefix.empty())
    if (auto valid = validate_path(prefix); !valid)
      return tl::unexpected<Error>(std::move(valid.error()));
  auto impl = std::make_unique<Impl>(std::move(options), std::move(servers), std::move(prefix));
  return std::unique_ptr<ZooKeeperCoordinator>(new ZooKeeperCoordinator(std::move(impl)));
}

ZooKeeperCoordinator::ZooKeeperCoordinator(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ZooKeeperCoordinator::~ZooKeeperCoordinator() {
  impl_->close();
}

SessionId ZooKeeperCoordinator::session_id() const {
  return impl_->session_id();
}
bool ZooKeeperCoordinator::connected() const {
  return impl_->connected();
}
bool ZooKeeperCoordinator::on_callback_thread() const {
  return impl_->on_callback_thread();
}
void ZooKeeperCoordinator::close() {
  impl_->close();
}
void ZooKeeperCoordinator::run_at(Deadline time, std::function<void()> task) {
  impl_->run_at(time, std::move(task));
}
void ZooKeeperCoordinator::post(std::function<void()> task) {
  impl_->post(std::move(task));
}

void ZooKeeperCoordinator::start_write(std::vector<WriteOp> ops, Deadline deadline,
                                       Callback<std::vector<Stat>> done, WriteOn /*where*/) {
  impl_->write(std::move(ops), deadline, std::move(done));
}
void ZooKeeperCoordinator::start_get(std::string path, Deadline deadline, Callback<Record> done,
                                     Watcher watcher) {
  impl_->get(std::move(path), deadline, std::move(done), std::move(watcher));
}
void ZooKeeperCoordinator::start_list(std::string path, Deadline deadline, Callback<Children> done,
                                      Watcher watcher) {
  impl_->list(std::move(path), deadline, std::move(done), std::move(watcher));
}

}  // namespace godwit::coord
