// Endpoint: checks what can be checked, and hands over to the engine.
#include "godwit/endpoint.h"

#include "engine/engine.h"

namespace godwit {

Endpoint::Endpoint(std::shared_ptr<Engine> engine, std::uint32_t index, EndpointId id) noexcept
    : engine_(std::move(engine)), index_(index), id_(id) {}

Endpoint::Endpoint(Endpoint&& other) noexcept {
  *this = std::move(other);
}

Endpoint& Endpoint::operator=(Endpoint&& other) noexcept {
  std::swap(engine_, other.engine_);
  std::swap(index_, other.index_);
  std::swap(id_, other.id_);
  return *this;
}

Endpoint::~Endpoint() {
  if (engine_ == nullptr) return;
  if (engine_->on_own_thread()) {
    (void)engine_->unbind(index_, false);
  } else {
    engine_->post([engine = engine_.get(), index = index_] { (void)engine->unbind(index, false); });
  }
}

const std::string& Endpoint::name() const {
  return engine_->name_of(index_);
}

/// Every function starts so: an endpoint that was moved from or unbound, or another thread's.
#define GODWIT_ENTER()                                                   \
  if (engine_ == nullptr) [[unlikely]]                                   \
    return fail(Errc::closed, "the endpoint was unbound or moved from"); \
  if (!engine_->on_own_thread()) [[unlikely]]                            \
  return fail(Errc::wrong_thread, "an endpoint belongs to the thread that bound it")

Result<void> Endpoint::unbind() {
  GODWIT_ENTER();
  auto result = engine_->unbind(index_, true);
  engine_.reset();
  return result;
}

Result<Remote> Endpoint::lookup(std::string_view full_name, const Wait& wait) {
  GODWIT_ENTER();
  return engine_->lookup(index_, full_name, wait);
}

Result<Remote> Endpoint::lookup(EndpointId id, const Wait& wait) {
  GODWIT_ENTER();
  return engine_->lookup(index_, id, wait);
}

Result<Remote> Endpoint::wait_bound(std::string_view full_name, const Wait& wait) {
  GODWIT_ENTER();
  if (auto name = EndpointName::parse(full_name); !name) return tl::make_unexpected(name.error());
  return engine_->wait_bound(index_, full_name, wait);
}

Result<void> Endpoint::wait_unbound(std::string_view full_name, const Wait& wait) {
  GODWIT_ENTER();
  if (auto name = EndpointName::parse(full_name); !name) return tl::make_unexpected(name.error());
  return engine_->wait_unbound(index_, full_name, wait);
}

Result<void> Endpoint::send(const Remote& to, Bytes payload, const Wait& wait) {
  GODWIT_ENTER();
  return engine_->send(to, payload, &wait, false);
}

Result<void> Endpoint::send(const Remote& to, fabric::Buffer payload, const Wait& wait) {
  GODWIT_ENTER();
  return engine_->send(to, std::move(payload), wait);
}

Result<void> Endpoint::send(std::string_view full_name, Bytes payload, const Wait& wait) {
  GODWIT_ENTER();
  auto to = engine_->named(index_, full_name, wait);
  if (!to) return tl::make_unexpected(to.error());
  return engine_->send(*to, payload, &wait, false);
}

Result<void> Endpoint::try_send(const Remote& to, Bytes payload) {
  GODWIT_ENTER();
  return engine_->send(to, payload, nullptr, false);
}

Result<void> Endpoint::send_rendezvous(const Remote& to, Bytes payload, const Wait& wait) {
  GODWIT_ENTER();
  return engine_->send(to, payload, &wait, true);
}

Result<void> Endpoint::wait_received(const Remote& to, const Wait& wait) {
  GODWIT_ENTER();
  return engine_->wait_received(to, wait);
}

Result<void> Endpoint::notify(const Remote& to, std::uint64_t bits) {
  GODWIT_ENTER();
  return engine_->notify(to, bits);
}

Result<Message> Endpoint::receive(const Wait& wait) {
  GODWIT_ENTER();
  return engine_->receive(index_, nullptr, wait);
}

Result<Message> Endpoint::receive_from(const Remote& from, const Wait& wait) {
  GODWIT_ENTER();
  return engine_->receive(index_, &from, wait);
}

Result<Message> Endpoint::call(const Remote& to, Bytes request, const Wait& wait) {
  GODWIT_ENTER();
  return engine_->call(to, request, {}, wait);
}

Result<Message> Endpoint::call(const Remote& to, fabric::Buffer request, const Wait& wait) {
  GODWIT_ENTER();
  return engine_->call(to, {}, std::move(request), wait);
}

Result<Message> Endpoint::call(std::string_view full_name, Bytes request, const Wait& wait) {
  GODWIT_ENTER();
  const Wait absolute(wait.forever() ? Wait::Clock::time_point::max() : wait.until(), wait.stop());
  for (;;) {
    auto to = engine_->named(index_, full_name, absolute);
    if (!to) return tl::make_unexpected(to.error());
    auto reply = engine_->call(*to, request, {}, absolute);
    const bool again = !reply && reply.error().code == Errc::endpoint_died &&
                       reply.error().outcome == Outcome::not_executed;
    if (!again) return reply;
    // Certainly not executed: its successor may do it, if there is one.
  }
}

Result<void> Endpoint::call_async(const Remote& to, Bytes request, ReplyCallback done,
                                  const Wait& wait) {
  GODWIT_ENTER();
  return engine_->call_async(to, request, std::move(done), wait);
}

Endpoint::CallAwaitable Endpoint::co_call(const Remote& to, Bytes request, const Wait& wait) {
  return CallAwaitable(*this, to, request, wait);
}

bool Endpoint::CallAwaitable::await_suspend(std::coroutine_handle<> waiting) {
  auto started = endpoint_.call_async(
      to_, request_,
      [this, waiting](Result<Message> result) {
        result_ = std::move(result);
        waiting.resume();
      },
      wait_);
  if (started) return true;
  result_ = tl::make_unexpected(started.error());
  return false;
}

Result<Request> Endpoint::receive_request(const Wait& wait) {
  GODWIT_ENTER();
  return engine_->receive_request(index_, wait);
}

Result<Request> Endpoint::as_request(Message message) {
  GODWIT_ENTER();
  return engine_->as_request(std::move(message));
}

Result<void> Endpoint::reply(Request request, Bytes payload) {
  if (engine_ == nullptr) return fail(Errc::closed, "the endpoint was unbound or moved from");
  return engine_->reply(std::move(request), payload, {}, Errc{});
}

Result<void> Endpoint::reply(Request request, fabric::Buffer payload) {
  if (engine_ == nullptr) return fail(Errc::closed, "the endpoint was unbound or moved from");
  return engine_->reply(std::move(request), {}, std::move(payload), Errc{});
}

Result<GrantRef> Endpoint::grant(std::span<std::byte> memory, GrantOptions options) {
  GODWIT_ENTER();
  return engine_->grant(index_, memory, options.rights, options.peer);
}

Result<GrantRef> Endpoint::grant(std::span<const std::byte> memory,
                                 std::optional<EndpointId> peer) {
  GODWIT_ENTER();
  // Never written: the right to write is not given.
  return engine_->grant(index_, {const_cast<std::byte*>(memory.data()), memory.size()},
                        Rights::read, peer);
}

Result<void> Endpoint::regrant(const GrantRef& grant, std::span<std::byte> memory) {
  GODWIT_ENTER();
  return engine_->regrant(index_, grant, memory);
}

Result<void> Endpoint::revoke(const GrantRef& grant, const Wait& wait) {
  GODWIT_ENTER();
  return engine_->revoke(index_, grant, wait);
}

Result<void> Endpoint::copy_from(const GrantRef& grant, std::uint64_t offset,
                                 std::span<std::byte> memory, const Wait& wait) {
  GODWIT_ENTER();
  return engine_->copy(index_, grant, offset, memory, false, wait);
}

Result<void> Endpoint::copy_to(const GrantRef& grant, std::uint64_t offset,
                               std::span<const std::byte> memory, const Wait& wait) {
  GODWIT_ENTER();
  // Only read from: `to_owner` says so.
  return engine_->copy(index_, grant, offset,
                       {const_cast<std::byte*>(memory.data()), memory.size()}, true, wait);
}

Result<void> Endpoint::copy_between(const GrantRef& from, std::uint64_t from_offset,
                                    const GrantRef& to, std::uint64_t to_offset,
                                    std::uint64_t length, const Wait& wait) {
  GODWIT_ENTER();
  return engine_->copy_between(index_, from, from_offset, to, to_offset, length, wait);
}

#undef GODWIT_ENTER

}  // namespace godwit
