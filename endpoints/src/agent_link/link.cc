#include "agent_link/link.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cassert>
#include <cstring>
#include <utility>

#include "agent_link/place_codec.h"

namespace godwit::agent_link {

namespace {

using namespace std::chrono_literals;

constexpr auto kFirstBackoff = 10ms;
constexpr auto kLastBackoff = 500ms;
// A socket that refuses may be that of an agent that is just being restarted.
constexpr auto kAttachPatience = 1s;
constexpr auto kDetachPatience = 1s;
constexpr std::size_t kMaxProgramName = 255;

std::uint64_t random_number() {
  std::uint64_t number = 0;
  while (number == 0) {
    if (::getrandom(&number, sizeof number, 0) != sizeof number) number = 0;
  }
  return number;
}

// A file name may be any bytes, a message's text is UTF-8.
std::string program_name(const std::string& given) {
  std::string name = given.empty() ? std::string(program_invocation_short_name) : given;
  for (char& byte : name) {
    if (byte < ' ' || byte > '~') byte = '?';
  }
  return name.substr(0, kMaxProgramName);
}

}  // namespace

Link::Link(AgentLinkOptions options)
    : options_(std::move(options)),
      socket_path_(agent_socket_path(options_.runtime_directory)),
      process_(random_number()),
      nonce_(random_number()),
      wake_fd_(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {}

Link::~Link() {
  if (thread_.joinable()) {
    assert(std::this_thread::get_id() != thread_.get_id());
    {
      std::lock_guard lock(mutex_);
      closing_ = true;
    }
    wake();
    thread_.join();
  }
  if (wake_fd_ >= 0) ::close(wake_fd_);
}

Result<void> Link::start() {
  if (wake_fd_ < 0) return fail_errno("cannot make an eventfd");
  thread_ = std::thread([this] { run(); });
  std::unique_lock lock(mutex_);
  start_done_.wait(lock, [&] { return started_; });
  if (start_error_) return tl::make_unexpected(*start_error_);
  return {};
}

// --- Any thread ---------------------------------------------------------------------------------

std::uint64_t Link::ask(Request request, Limit limit, Answer answer) {
  const auto now = Clock::now();
  std::uint64_t number;
  {
    std::lock_guard lock(mutex_);
    number = next_number_++;
    request.set_number(number);
    Pending pending{std::move(request), limit, now + options_.request_timeout, std::move(answer),
                    false};
    if (limit == Limit::timed) deadlines_.emplace_back(pending.deadline, number);
    if (ready_) {
      stamp_timeout(pending, now);
      pending.sent = true;
      agent_protocol::append(pending.request, outgoing_);
    }
    pending_.emplace(number, std::move(pending));
  }
  wake();
  return number;
}

void Link::cancel(std::uint64_t number) {
  {
    std::lock_guard lock(mutex_);
    const auto found = pending_.find(number);
    if (found == pending_.end()) return;
    posted_.push_back([answer = std::move(found->second.answer)] {
      answer(fail(Errc::cancelled, "the wait was cancelled"));
    });
    pending_.erase(found);
    if (ready_) {
      Request request;
      request.set_number(next_number_++);
      request.mutable_cancel_wait()->set_number(number);
      agent_protocol::append(request, outgoing_);
    }
  }
  wake();
}

void Link::post(std::function<void()> task) {
  {
    std::lock_guard lock(mutex_);
    posted_.push_back(std::move(task));
  }
  wake();
}

void Link::note(std::function<void()> task) {
  std::lock_guard lock(mutex_);
  posted_.push_back(std::move(task));
}

void Link::wake() {
  if (wake_pending_.exchange(true)) return;
  const std::uint64_t one = 1;
  // It can fail only when the counter is full, and then the thread wakes anyway.
  [[maybe_unused]] const ssize_t written = ::write(wake_fd_, &one, sizeof one);
}

void Link::tell(Request request) {
  std::unique_lock lock(mutex_);
  if (!ready_) return;
  request.set_number(next_number_++);
  agent_protocol::append(request, outgoing_);
  // From here if nothing is before it: to wake the thread would take longer than to send.
  if (direct_fd_ >= 0 && !sending_) {
    // Without the lock: the agent wakes at once, and whom it wakes may be the link's thread, while
    // this one does not run.
    sending_ = true;
    const int fd = direct_fd_;
    std::string bytes = std::exchange(outgoing_, {});
    lock.unlock();
    const ssize_t sent = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    lock.lock();
    sending_ = false;
    sent_.notify_all();
    bytes.erase(0, static_cast<std::size_t>(std::max<ssize_t>(sent, 0)));
    // A connection that was lost meanwhile takes the rest along.
    if (direct_fd_ != fd) bytes.clear();
    outgoing_.insert(0, bytes);
    if (outgoing_.empty()) return;
    direct_fd_ = -1;
  }
  wake();
}

void Link::set_move_handler(AgentLink::MoveHandler* handler) {
  std::lock_guard lock(listener_mutex_);
  move_handler_ = handler;
}

void Link::set_listener(Resolver::Listener* listener) {
  std::lock_guard lock(listener_mutex_);
  listener_ = listener;
}

std::optional<fabric::DcKey> Link::key(std::uint32_t dc) const {
  std::shared_lock lock(facts_mutex_);
  const auto found = keys_.find(dc);
  if (found == keys_.end()) return std::nullopt;
  return found->second;
}

std::optional<std::uint32_t> Link::dc_id(std::string_view name) const {
  std::shared_lock lock(facts_mutex_);
  const auto found = dc_ids_.find(name);
  if (found == dc_ids_.end()) return std::nullopt;
  return found->second;
}

std::uint64_t Link::next_nonce() {
  return nonce_.fetch_add(1, std::memory_order_relaxed);
}

endpoints::proto::HelloReply Link::agent() const {
  std::shared_lock lock(facts_mutex_);
  return agent_;
}

// --- The thread ---------------------------------------------------------------------------------

void Link::run() {
  const auto patience = Clock::now() + options_.attach_timeout;
  const auto refused_patience =
      std::min(patience, Clock::now() + std::chrono::milliseconds(kAttachPatience));
  Clock::duration backoff = kFirstBackoff;
  while (true) {
    {
      std::lock_guard lock(mutex_);
      if (closing_) break;
    }
    if (!socket_ && !try_connect() && !attached_before_) {
      // The first contact: tell the caller soon rather than try for ever.
      std::lock_guard lock(mutex_);
      if (start_error_->code != Errc::agent_unavailable || Clock::now() >= refused_patience ||
          ::access(socket_path_.c_str(), F_OK) != 0) {
        started_ = true;
        start_done_.notify_all();
        return;
      }
    }
    if (socket_) {
      backoff = kFirstBackoff;
      serve_until(attached_before_ ? Clock::time_point::max() : patience);
      if (!socket_ && !attached_before_) {
        std::lock_guard lock(mutex_);
        started_ = true;
        start_done_.notify_all();
        return;
      }
    } else {
      serve_until(Clock::now() + backoff);
      backoff = std::min<Clock::duration>(2 * backoff, kLastBackoff);
    }
  }
  detach();
}

bool Link::try_connect() {
  auto socket = AgentSocket::connect(socket_path_);
  if (!socket) {
    last_failure_ = socket.error().message;
    if (!attached_before_) {
      Error error = socket.error();
      if (error.code == Errc::agent_unavailable) {
        error.message = "no agent answers at " + socket_path_ + " (" + error.message +
                        "): start godwitd, name its runtime directory in GODWIT_RUN, or use "
                        "Process::embedded";
      } else if (error.code == Errc::permission_denied) {
        error.message += ": the agent there belongs to another user";
      }
      std::lock_guard lock(mutex_);
      start_error_ = std::move(error);
    }
    return false;
  }
  socket_.emplace(std::move(*socket));
  hello_done_ = false;
  hello_deadline_ = Clock::now() + agent_protocol::kHelloTimeout;
  Request request;
  {
    std::lock_guard lock(mutex_);
    request.set_number(next_number_++);
    start_error_.reset();
  }
  auto& hello = *request.mutable_hello();
  hello.set_version_min(agent_protocol::kVersionMin);
  hello.set_version_max(agent_protocol::kVersionMax);
  hello.set_again(attached_before_);
  hello.mutable_process()->set_process(process_);
  hello.mutable_process()->set_pid(static_cast<std::uint32_t>(::getpid()));
  hello.mutable_process()->set_program(program_name(options_.program));
  socket_->queue(request);
  return true;
}

// One stretch of the loop: until the connection breaks, the time comes, or the link closes.
void Link::serve_until(Clock::time_point wake_at) {
  const bool had_socket = socket_.has_value();
  const bool was_attached = attached_before_;
  while (true) {
    run_posted();
    const auto now = Clock::now();
    expire(now);
    auto next = wake_at;
    {
      std::lock_guard lock(mutex_);
      if (closing_) return;
      if (socket_ && !outgoing_.empty() && !sending_) {
        socket_->queue_bytes(outgoing_);
        outgoing_ = std::string();
        direct_fd_ = -1;
      }
      while (!deadlines_.empty() && !pending_.contains(deadlines_.front().second)) {
        deadlines_.pop_front();
      }
      if (!deadlines_.empty()) next = std::min(next, deadlines_.front().first);
    }
    if (socket_) {
      if (hello_deadline_) next = std::min(next, *hello_deadline_);
      if (auto flushed = socket_->flush(); !flushed) disconnected(flushed.error());
    }
    if (socket_ && !socket_->has_output()) {
      std::lock_guard lock(mutex_);
      if (ready_ && outgoing_.empty()) direct_fd_ = socket_->fd();
    }
    if (socket_ && hello_deadline_ && now >= *hello_deadline_) {
      disconnected(Error{Errc::agent_unavailable, "the agent accepted but does not answer", {}});
    }
    // The first contact widens the time: the caller asks again with another wake_at.
    if (socket_.has_value() != had_socket || attached_before_ != was_attached || now >= wake_at) {
      if (socket_ && now >= wake_at && !attached_before_) {
        disconnected(Error{Errc::agent_unavailable, "the agent accepted but does not answer", {}});
      }
      return;
    }

    pollfd fds[2] = {{wake_fd_, POLLIN, 0}, {-1, POLLIN, 0}};
    if (socket_) {
      fds[1].fd = socket_->fd();
      if (socket_->has_output()) fds[1].events |= POLLOUT;
    }
    int timeout = -1;
    if (next != Clock::time_point::max()) {
      const auto left = std::chrono::ceil<std::chrono::milliseconds>(next - now).count();
      timeout = static_cast<int>(std::clamp<std::int64_t>(left, 0, 60'000));
    }
    ::poll(fds, 2, timeout);
    if (fds[0].revents != 0) drain_wake();
    if (socket_ && fds[1].revents != 0) {
      run_posted();
      auto read = socket_->read([this](std::string_view bytes) { return on_message(bytes); });
      if (!read) disconnected(read.error());
    }
  }
}

void Link::drain_wake() {
  // In this order: a wake() after the exchange writes again, one before it is seen by what follows.
  std::uint64_t count;
  [[maybe_unused]] const ssize_t got = ::read(wake_fd_, &count, sizeof count);
  wake_pending_.exchange(false);
}

void Link::disconnected(const Error& why) {
  last_failure_ = why.message;
  {
    std::unique_lock lock(mutex_);
    ready_ = false;
    direct_fd_ = -1;
    sent_.wait(lock, [this] { return !sending_; });  // it is not closed under the sender
    outgoing_.clear();
    if (!attached_before_) start_error_ = why;
  }
  socket_.reset();
  hello_deadline_.reset();
  hello_done_ = false;
  // The new agent learns from the claims that these were never delivered.
  abandoned_.clear();
  if (connected_.exchange(false)) notify_agent(false);
}

void Link::run_posted() {
  std::vector<std::function<void()>> tasks;
  {
    std::lock_guard lock(mutex_);
    tasks.swap(posted_);
  }
  for (auto& task : tasks) task();
}

void Link::expire(Clock::time_point now) {
  while (true) {
    std::uint64_t number;
    bool sent_bind;
    {
      std::lock_guard lock(mutex_);
      if (deadlines_.empty() || deadlines_.front().first > now) return;
      number = deadlines_.front().second;
      deadlines_.pop_front();
      const auto found = pending_.find(number);
      if (found == pending_.end()) continue;
      sent_bind = ready_ && found->second.request.has_bind();
    }
    if (sent_bind) abandoned_.insert(number);
    finish(number, tl::make_unexpected(
                       unavailable(connected_ ? "it did not answer in time" : last_failure_)));
  }
}

Error Link::unavailable(std::string_view how) const {
  return Error{
      Errc::agent_unavailable,
      "the node's agent at " + options_.runtime_directory + " cannot be used: " + std::string(how),
      {}};
}

void Link::finish(std::uint64_t number, Result<Response> result) {
  Answer answer;
  {
    std::lock_guard lock(mutex_);
    const auto found = pending_.find(number);
    if (found == pending_.end()) return;
    answer = std::move(found->second.answer);
    pending_.erase(found);
  }
  answer(std::move(result));
}

// --- Messages -----------------------------------------------------------------------------------

Result<void> Link::on_message(std::string_view bytes) {
  Response response;
  if (!response.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    return fail(Errc::protocol_error, "the agent sent what is no message");
  }
  if (!hello_done_) return on_hello(response);
  take_grants(response);
  if (response.number() == 0) {
    if (response.has_changed()) on_changed(to_place(response.changed().place()));
    if (response.has_move_order()) {
      std::lock_guard lock(listener_mutex_);
      if (move_handler_ != nullptr) move_handler_->on_order(response.move_order());
    }
    return {};
  }
  if (claim_number_ != 0 && response.number() == claim_number_) {
    claim_number_ = 0;
    connected_ = true;
    notify_agent(true);
    return {};
  }
  on_response(std::move(response));
  return {};
}

Result<void> Link::on_hello(const Response& response) {
  if (response.has_failure()) return tl::make_unexpected(to_error(response.failure()));
  if (!response.has_hello() || response.hello().version() < agent_protocol::kVersionMin ||
      response.hello().version() > agent_protocol::kVersionMax) {
    return fail(Errc::version_mismatch, "the agent speaks another version");
  }
  hello_done_ = true;
  hello_deadline_.reset();
  {
    std::unique_lock lock(facts_mutex_);
    agent_ = response.hello();
    // A DC may have been made anew while there was no agent to tell.
    dc_ids_.clear();
  }
  take_grants(response);
  if (attached_before_) {
    queue_claims();
    queue_subscriptions();
  } else {
    connected_ = true;
    attached_before_ = true;
  }
  queue_pending();
  {
    std::lock_guard lock(listener_mutex_);
    if (move_handler_ != nullptr) move_handler_->on_attached();
  }
  std::lock_guard lock(mutex_);
  started_ = true;
  start_done_.notify_all();
  return {};
}

void Link::queue_claims() {
  auto held = held_.begin();
  bool last = false;
  while (!last) {
    Request request;
    {
      std::lock_guard lock(mutex_);
      request.set_number(next_number_++);
    }
    auto& claim = *request.mutable_claim();
    std::size_t bytes = 0;
    for (std::size_t count = 0; held != held_.end() && count < agent_protocol::kMaxBatch &&
                                bytes < agent_protocol::kBatchBytes;
         ++held, ++count) {
      to_message(held->second, *claim.add_endpoints());
      bytes += held->second.engine_address.size() + held->second.name.size();
    }
    last = held == held_.end();
    claim.set_last(last);
    claim_number_ = request.number();
    socket_->queue(request);
  }
}

void Link::queue_subscriptions() {
  Request request;
  const auto send = [&] {
    std::lock_guard lock(mutex_);
    request.set_number(next_number_++);
    socket_->queue(request);
    request.Clear();
  };
  for (const auto& place : cache_.all()) {
    auto& message = *request.mutable_subscribe()->add_places();
    to_message(*place, message);
    message.clear_engine_address();
    if (static_cast<std::size_t>(request.subscribe().places_size()) == agent_protocol::kMaxBatch) {
      send();
    }
  }
  if (request.has_subscribe()) send();
}

void Link::queue_pending() {
  const auto now = Clock::now();
  std::lock_guard lock(mutex_);
  for (auto& [number, pending] : pending_) {
    stamp_timeout(pending, now);
    if (pending.request.has_bind()) {
      pending.request.mutable_bind()->set_repeated(pending.sent);
    }
    pending.sent = true;
    socket_->queue(pending.request);
  }
  ready_ = true;
}

// The agent gives up a little earlier than this side, so that its reason is what the caller sees.
void Link::stamp_timeout(Pending& pending, Clock::time_point now) const {
  if (pending.limit == Limit::unlimited) return;
  const auto left =
      std::chrono::duration_cast<std::chrono::milliseconds>(pending.deadline - now).count();
  pending.request.set_timeout_ms(
      static_cast<std::uint32_t>(std::max<std::int64_t>(left * 9 / 10, 1)));
}

void Link::on_response(Response response) {
  const std::uint64_t number = response.number();
  if (abandoned_.erase(number) != 0) {
    give_back(response);
    return;
  }
  if (response.has_failure()) {
    finish(number, tl::make_unexpected(to_error(response.failure())));
  } else {
    finish(number, std::move(response));
  }
}

// Endpoints bound after their asker had been told otherwise.
void Link::give_back(const Response& response) {
  for (const auto& result : response.bind().results()) {
    if (!result.has_place()) continue;
    Request request;
    auto& unbind = *request.mutable_unbind();
    unbind.set_dc(result.place().dc());
    unbind.set_slot(result.place().slot());
    unbind.set_generation(result.place().generation());
    ask(std::move(request), Limit::timed, [](const Result<Response>&) {});
  }
}

void Link::on_changed(const EndpointPlace& place) {
  if (place.gone()) held_.erase(place.id);
  if (!cache_.changed(place)) return;
  std::lock_guard lock(listener_mutex_);
  if (listener_ != nullptr) listener_->on_endpoint_changed(place);
}

void Link::take_grants(const Response& response) {
  if (response.dcs().empty()) return;
  std::unique_lock lock(facts_mutex_);
  for (const auto& grant : response.dcs()) {
    dc_ids_[grant.name()] = grant.id();
    fabric::DcKey key;
    if (grant.key().size() != key.size()) continue;
    std::memcpy(key.data(), grant.key().data(), key.size());
    keys_[grant.id()] = key;
  }
}

void Link::notify_agent(bool available) {
  std::lock_guard lock(listener_mutex_);
  if (listener_ != nullptr) listener_->on_agent(available);
}

void Link::hold(const EndpointPlace& place) {
  held_.insert_or_assign(place.id, place);
}

void Link::release(const EndpointId& id) {
  held_.erase(id);
}

// --- The end ------------------------------------------------------------------------------------

void Link::detach() {
  std::uint64_t detach_number;
  {
    std::unique_lock lock(mutex_);
    ready_ = false;
    direct_fd_ = -1;
    sent_.wait(lock, [this] { return !sending_; });
    detach_number = next_number_++;
  }
  if (socket_ && hello_done_) {
    Request request;
    request.set_number(detach_number);
    request.mutable_detach();
    {
      std::lock_guard lock(mutex_);
      socket_->queue_bytes(outgoing_);
    }
    socket_->queue(request);
    // Waited for, so that a name is free once its owner has ended cleanly.
    const auto deadline = Clock::now() + kDetachPatience;
    bool answered = false;
    while (!answered && socket_->flush()) {
      const auto left =
          std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
      if (left <= 0) break;
      pollfd fd{socket_->fd(), POLLIN, 0};
      if (socket_->has_output()) fd.events |= POLLOUT;
      ::poll(&fd, 1, static_cast<int>(left));
      const auto read = socket_->read([&](std::string_view bytes) -> Result<void> {
        Response response;
        answered |= response.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())) &&
                    response.number() == detach_number;
        return {};
      });
      if (!read) break;
    }
  }
  socket_.reset();
  run_posted();
  std::map<std::uint64_t, Pending> pending;
  {
    std::lock_guard lock(mutex_);
    pending.swap(pending_);
  }
  for (auto& [number, request] : pending) {
    request.answer(fail(Errc::closed, "the process detached from its agent"));
  }
}

}  // namespace godwit::agent_link
