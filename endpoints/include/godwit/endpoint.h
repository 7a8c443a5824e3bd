// Endpoint: what a program sends and receives with. The primitives of the fabric.
//
// An endpoint belongs to the engine of the thread that bound it; unless stated otherwise its
// functions are for that thread only (checked: Errc::wrong_thread). The engine moves messages
// whenever its thread is inside one of these functions, so a thread that computes for long should
// call Process::progress() now and then, or leave its endpoints to another thread.
//
// Every blocking function takes a Wait: a deadline, and a stop_token for cancelling from any
// thread. Errors common to all: deadline_exceeded, cancelled, endpoint_died, wrong_thread, closed.
#pragma once

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "godwit/endpoint_id.h"
#include "godwit/error.h"
#include "godwit/fabric/buffer.h"
#include "godwit/grant.h"
#include "godwit/message.h"
#include "godwit/resolver.h"
#include "godwit/wait.h"

namespace godwit {

/// The largest payload of a message, request or reply. Use grants for more.
inline constexpr std::size_t kMaxMessage = fabric::kMaxPayload;

/// Messages a sender may have on the way to one peer before send answers would_block or waits; the
/// same for calls in flight.
inline constexpr std::uint32_t kChannelWindow = 256;

/// A resolved peer: the fast way to address it. Cheap to copy; valid as long as the endpoint that
/// made it. It stands for one life of the peer (EndpointId with its generation): once that has
/// died, every use answers endpoint_died, and lookup() finds its successor.
class Remote {
 public:
  Remote() = default;
  EndpointId id() const noexcept { return id_; }
  explicit operator bool() const noexcept { return static_cast<bool>(id_); }

 private:
  friend class Engine;
  Remote(EndpointId id, std::uint32_t channel, std::uint32_t serial) noexcept
      : id_(id), channel_(channel), serial_(serial) {}
  EndpointId id_;
  std::uint32_t channel_ = 0;
  std::uint32_t serial_ = 0;
};

struct GrantOptions {
  Rights rights = Rights::read;
  /// Who may use it; empty: every endpoint of the DC that knows the key.
  std::optional<EndpointId> peer;
};

using ReplyCallback = std::function<void(Result<Message>)>;

class Endpoint {
 public:
  Endpoint() = default;
  Endpoint(Endpoint&& other) noexcept;
  Endpoint& operator=(Endpoint&& other) noexcept;
  ~Endpoint();  // as unbind(), without waiting for the directory

  EndpointId id() const noexcept { return id_; }
  /// With its DC, "demo/echo"; empty if anonymous.
  const std::string& name() const;
  explicit operator bool() const noexcept { return engine_ != nullptr; }

  /// Gives the name back. Peers learn it at once; their unanswered calls end with endpoint_died.
  Result<void> unbind();

  // --- finding peers ---------------------------------------------------------------------------

  /// The endpoint bound to a full name now. No system call when this process knows the name.
  /// Errors: not_found, agent_unavailable.
  Result<Remote> lookup(std::string_view full_name, const Wait& wait = forever);
  /// The peer of that id: of a message's source, for example. Errors: not_found once it is gone.
  Result<Remote> lookup(EndpointId id, const Wait& wait = forever);

  /// Until somebody binds the name (at once if somebody has), or until nobody living has it.
  Result<Remote> wait_bound(std::string_view full_name, const Wait& wait = forever);
  Result<void> wait_unbound(std::string_view full_name, const Wait& wait = forever);

  // --- messages --------------------------------------------------------------------------------

  /// Buffered: returns as soon as the window has taken the message, waiting for room if need be.
  /// Bytes leave at once on an idle connection; within a burst they may be batched until the next
  /// Godwit call of this thread or flush(). Errors also: too_large, no_memory.
  Result<void> send(const Remote& to, Bytes payload, const Wait& wait = forever);
  /// The same without a copy: the buffer came from Process::allocate().
  Result<void> send(const Remote& to, fabric::Buffer payload, const Wait& wait = forever);
  Result<void> send(std::string_view full_name, Bytes payload, const Wait& wait = forever);

  /// Never waits: would_block when the window is full.
  Result<void> try_send(const Remote& to, Bytes payload);

  /// Rendezvous: returns once the peer's application has received the message. If the wait ends
  /// early the message may still be received (Outcome::unknown).
  Result<void> send_rendezvous(const Remote& to, Bytes payload, const Wait& wait = forever);

  /// Waits until the peer's application has received every message sent to it before, and its
  /// engine has the bits it was notified of. For whoever is about to exit. Outcome::unknown if the
  /// wait ends early.
  Result<void> wait_received(const Remote& to, const Wait& wait = forever);

  /// Sets bits at the peer; never blocks. Bits that were not received yet are merged.
  Result<void> notify(const Remote& to, std::uint64_t bits);

  /// The next of anything: notifications first, then messages and requests, in order from each
  /// sender and fair among senders. A request received so is answered with as_request().
  Result<Message> receive(const Wait& wait = forever);
  Result<Message> receive_from(const Remote& from, const Wait& wait = forever);

  // --- calls -----------------------------------------------------------------------------------

  /// Sends a request and waits for its reply. Executed at most once whatever happens in between; an
  /// error's `outcome` tells whether it may have been executed.
  Result<Message> call(const Remote& to, Bytes request, const Wait& wait = forever);
  Result<Message> call(const Remote& to, fabric::Buffer request, const Wait& wait = forever);
  /// By name; looks it up again when the former owner has died and the request was not executed.
  Result<Message> call(std::string_view full_name, Bytes request, const Wait& wait = forever);

  /// Starts a call; `done` runs once, on this thread, inside a later Godwit call (never inside this
  /// one). would_block when the window is full; `wait` is the call's own deadline. Many may be in
  /// flight.
  Result<void> call_async(const Remote& to, Bytes request, ReplyCallback done,
                          const Wait& wait = forever);

  /// co_await endpoint.co_call(...) gives Result<Message>; resumes on this thread inside progress.
  class CallAwaitable;
  CallAwaitable co_call(const Remote& to, Bytes request, const Wait& wait = forever);

  /// The next request; messages and notifications stay for receive().
  Result<Request> receive_request(const Wait& wait = forever);
  /// Turns a received message of kind request into a Request; invalid_argument for other kinds.
  Result<Request> as_request(Message message);

  /// Answers. Any thread of the process. Replies may come in any order. Errors: too_large,
  /// no_memory; a caller that is gone is no error.
  Result<void> reply(Request request, Bytes payload);
  Result<void> reply(Request request, fabric::Buffer payload);

  // --- grants and one-sided copies -------------------------------------------------------------

  /// Grants peers access to memory that stays valid and in place until revoke() has returned.
  Result<GrantRef> grant(std::span<std::byte> memory, GrantOptions options = {});
  Result<GrantRef> grant(std::span<const std::byte> memory, std::optional<EndpointId> peer = {});
  /// Gives a grant its memory again after the endpoint has moved here with it: as many bytes as it
  /// was for. Until then copies are answered not_found. Errors: not_found, invalid_argument.
  Result<void> regrant(const GrantRef& grant, std::span<std::byte> memory);
  /// Ends a grant; waits for copies that are under way.
  Result<void> revoke(const GrantRef& grant, const Wait& wait = forever);

  /// Copies between `memory` and the granted memory at `offset`, up to gigabytes, in one copy
  /// within a node. The owner's application takes no part, only its engine. Copies are repeated by
  /// themselves when a connection breaks; an error leaves the destination undefined but nothing
  /// else. Errors also: permission_denied, out_of_bounds, not_found (no such grant any more).
  Result<void> copy_from(const GrantRef& grant, std::uint64_t offset, std::span<std::byte> memory,
                         const Wait& wait = forever);
  Result<void> copy_to(const GrantRef& grant, std::uint64_t offset,
                       std::span<const std::byte> memory, const Wait& wait = forever);
  /// As a third party: the bytes go straight from the owner of `from` to the owner of `to`.
  Result<void> copy_between(const GrantRef& from, std::uint64_t from_offset, const GrantRef& to,
                            std::uint64_t to_offset, std::uint64_t length,
                            const Wait& wait = forever);

 private:
  friend class Engine;
  friend class Process;
  friend class Relocation;
  Endpoint(std::shared_ptr<Engine> engine, std::uint32_t index, EndpointId id) noexcept;

  std::shared_ptr<Engine> engine_;
  std::uint32_t index_ = 0;
  EndpointId id_;
};

/// The awaitable of co_call(). Must be awaited on the endpoint's thread.
class Endpoint::CallAwaitable {
 public:
  CallAwaitable(Endpoint& endpoint, Remote to, Bytes request, Wait wait)
      : endpoint_(endpoint), to_(to), request_(request), wait_(std::move(wait)) {}
  bool await_ready() const noexcept { return false; }
  bool await_suspend(std::coroutine_handle<> waiting);
  Result<Message> await_resume() { return std::move(*result_); }

 private:
  Endpoint& endpoint_;
  Remote to_;
  Bytes request_;
  Wait wait_;
  std::optional<Result<Message>> result_;
};

}  // namespace godwit
