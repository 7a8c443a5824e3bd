#include "agent/membership.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "agent/errors.h"

namespace godwit::node {

namespace {
using namespace std::chrono_literals;
constexpr auto kStepLimit = 10s;
constexpr auto kRetry = 250ms;
constexpr auto kLoadInterval = 2s;

// Errors that time does not mend.
bool is_hopeless(coord::Errc code) {
  switch (code) {
    case coord::Errc::node_taken:
    case coord::Errc::corrupt:
    case coord::Errc::auth_failed:
    case coord::Errc::bad_argument:
      return true;
    default:
      return false;
  }
}
}  // namespace

Membership::Membership(EventLoop& loop, coord::Directory& directory,
                       coord::proto::NodeRecord record, std::uint64_t predecessor,
                       std::chrono::milliseconds session_timeout, Events events)
    : loop_(loop),
      directory_(directory),
      record_(std::move(record)),
      predecessor_(predecessor),
      // A record of another agent may be that of a dead one: its session must have time to end.
      register_limit_(3 * session_timeout + 2s),
      events_(std::move(events)) {}

Membership::~Membership() {
  loop_.cancel(retry_timer_);
  loop_.cancel(load_timer_);
}

void Membership::on_session(coord::SessionEvent event) {
  switch (event) {
    case coord::SessionEvent::connected:
      if (!connected_) spdlog::info("the directory is reachable");
      connected_ = true;
      if (!entry_ && !busy_) prepare();
      break;
    case coord::SessionEvent::disconnected:
      if (connected_)
        spdlog::warn("the directory cannot be reached; known places go on being served");
      connected_ = false;
      break;
    case coord::SessionEvent::expired:
      spdlog::warn("the directory's session expired; registering anew");
      ++expirations_;
      expired_since_ = true;
      connected_ = false;
      entry_.reset();
      break;
  }
}

void Membership::retry(std::function<void()> step) {
  busy_ = true;
  loop_.cancel(retry_timer_);
  retry_timer_ = loop_.after(kRetry, [this, step = std::move(step)] {
    retry_timer_ = 0;
    busy_ = false;
    step();
  });
}

void Membership::prepare() {
  if (leaving_) return;
  if (prepared_) return register_node();
  busy_ = true;
  directory_.prepare(coord::after(kStepLimit),
                     on_loop<void>(loop_, lifetime_, [this](coord::Result<void> done) {
                       busy_ = false;
                       if (done) {
                         prepared_ = true;
                         register_node();
                       } else if (is_hopeless(done.error().code)) {
                         events_.hopeless(to_error(done.error()));
                       } else {
                         spdlog::warn("cannot prepare the directory: {}", done.error().message);
                         retry([this] { prepare(); });
                       }
                     }));
}

void Membership::register_node() {
  if (leaving_) return;
  busy_ = true;
  expired_since_ = false;
  auto record = record_;
  *record.mutable_load() = events_.load();
  directory_.register_node(
      std::move(record), std::exchange(predecessor_, 0), coord::after(register_limit_),
      on_loop<coord::NodeEntry>(loop_, lifetime_, [this](coord::Result<coord::NodeEntry> entry) {
        busy_ = false;
        if (expired_since_) return register_node();  // What was made went with that session.
        if (entry) {
          entry_ = std::move(*entry);
          // What came while it was made is not in it.
          const auto& made = entry_->record.capabilities();
          const auto& wanted = record_.capabilities();
          if (!std::equal(made.begin(), made.end(), wanted.begin(), wanted.end())) write_record();
          const bool again = std::exchange(registered_before_, true);
          events_.registered(again);
          for (auto& task : std::exchange(waiting_, {})) task();
        } else if (is_hopeless(entry.error().code) && !registered_before_) {
          Error error = to_error(entry.error());
          if (entry.error().code == coord::Errc::node_taken) {
            error.message = "another agent is registered as node '" + record_.name() +
                            "': give this one another name with --node (" + entry.error().message +
                            ")";
          }
          events_.hopeless(error);
        } else {
          spdlog::warn("cannot register this node: {}", entry.error().message);
          retry([this] { register_node(); });
        }
      }));
}

void Membership::when_registered(coord::Deadline deadline, std::function<void()> task) {
  if (entry_) return task();
  auto once = std::make_shared<std::function<void()>>(std::move(task));
  const auto run = [once, alive = lifetime_.token()] {
    if (*alive && *once) std::exchange(*once, nullptr)();
  };
  waiting_.push_back(run);
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now());
  loop_.after(std::max(left, 0ms), run);
}

void Membership::load_changed() {
  if (load_timer_ != 0 || leaving_) return;
  load_timer_ = loop_.after(kLoadInterval, [this] {
    load_timer_ = 0;
    write_record();
  });
}

void Membership::set_capabilities(const std::set<std::string>& capabilities,
                                  std::function<void()> done) {
  const bool same = std::equal(capabilities.begin(), capabilities.end(),
                               record_.capabilities().begin(), record_.capabilities().end());
  record_.clear_capabilities();
  for (const std::string& each : capabilities) record_.add_capabilities(each);
  if (!entry_ || !connected_ || leaving_ || (same && !writing_)) {
    if (done) done();
    return;
  }
  if (done) told_when_written_next_.push_back(std::move(done));
  write_record();
}

void Membership::write_record() {
  if (writing_) {
    write_again_ = true;
    return;
  }
  told_when_written_ = std::exchange(told_when_written_next_, {});
  const auto tell = [this] {
    for (auto& each : std::exchange(told_when_written_, {})) each();
  };
  if (!entry_ || !connected_ || leaving_) return tell();
  auto entry = *entry_;
  *entry.record.mutable_load() = events_.load();
  *entry.record.mutable_capabilities() = record_.capabilities();
  writing_ = true;
  write_again_ = false;
  directory_.update_node(
      std::move(entry), coord::after(kStepLimit),
      on_loop<coord::NodeEntry>(
          loop_, lifetime_,
          [this, tell, expirations = expirations_](coord::Result<coord::NodeEntry> updated) {
            writing_ = false;
            // A record of a former session is gone, and its version says nothing of the present
            // one.
            const bool of_this_session = entry_ && expirations == expirations_;
            if (updated && of_this_session) entry_ = std::move(*updated);
            // Else a listing is stale, or the planner does not see a program yet.
            if (!updated) load_changed();
            tell();
            if (write_again_) write_record();
          }));
}

void Membership::leave(coord::Deadline deadline, std::function<void()> done) {
  leaving_ = true;
  if (!entry_ || !connected_) return done();
  directory_.unregister_node(
      *std::exchange(entry_, std::nullopt), deadline,
      on_loop<void>(loop_, lifetime_, [done = std::move(done)](coord::Result<void>) { done(); }));
}

}  // namespace godwit::node
