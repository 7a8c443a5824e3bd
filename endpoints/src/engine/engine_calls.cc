// Engine: calls and replies. A call is a request in the stream of messages; its reply comes in the
// stream of replies and names the request's number.
#include <cstring>

#include "engine/engine.h"

namespace godwit {

namespace {

struct SyncCall : PendingCall {
  SyncCall() : PendingCall(&SyncCall::done) {}
  static void done(PendingCall& call, Result<Message>&& result) {
    static_cast<SyncCall&>(call).result = std::move(result);
  }
  std::optional<Result<Message>> result;
};

}  // namespace

struct Engine::AsyncCall : PendingCall {
  explicit AsyncCall(ReplyCallback then)
      : PendingCall(&AsyncCall::done), callback(std::move(then)) {}
  static void done(PendingCall& call, Result<Message>&& result) {
    const std::unique_ptr<AsyncCall> self(&static_cast<AsyncCall&>(call));
    self->callback(std::move(result));
  }
  ReplyCallback callback;
};

// --- the caller --------------------------------------------------------------------------------

void Engine::start_call(Channel& channel, PendingCall& call, fabric::FramePtr frame,
                        Clock::time_point until) {
  if (channel.calls == nullptr) channel.calls = std::make_unique<Channel::Calls>();
  call.channel = &channel;
  call.deadline = until;
  // The table is filled before the request leaves: a reply cannot come sooner.
  call.number = channel.core.out(Stream::messages).next();
  (*channel.calls)[call.number % channel::kWindow] = &call;
  ++channel.calls_waiting;
  counters_->calls.add();
  enqueue(channel, Stream::messages, std::move(frame), wire::Type::request, 0, 0, 0);
}

Result<Message> Engine::call(const Remote& to, Bytes payload, fabric::Buffer buffer,
                             const Wait& wait) {
  auto frame = buffer.empty() ? make_frame(payload) : make_frame(std::move(buffer));
  if (!frame) return tl::make_unexpected(frame.error());
  const Clock::time_point until = wait.forever() ? Clock::time_point::max() : wait.until();
  const Wait absolute(until, wait.stop());
  Channel* channel = nullptr;
  auto room = wait_for_call(to, &absolute, channel);
  if (!room) return tl::make_unexpected(room.error());

  SyncCall call;
  // The waiting loop below watches the deadline itself.
  start_call(*channel, call, std::move(*frame), Clock::time_point::max());
  auto ended = progress_until([&] { return call.result.has_value(); }, absolute);
  if (call.result) return std::move(*call.result);
  Error error = std::move(*ended);
  error.endpoint = to.id().to_string();
  if (call.channel != nullptr) {
    if (error.code == Errc::deadline_exceeded) error.message = why_silent(*call.channel);
    forget_call(call);
    // Even a request that never left is retained, and executed once the peer is back.
    error.outcome = Outcome::unknown;
  }
  counters_->failed.add();
  return tl::make_unexpected(std::move(error));
}

Result<void> Engine::call_async(const Remote& to, Bytes payload, ReplyCallback done,
                                const Wait& wait) {
  auto frame = make_frame(payload);
  if (!frame) return tl::make_unexpected(frame.error());
  Channel* channel = nullptr;
  if (auto room = wait_for_call(to, nullptr, channel); !room) return room;
  const Clock::time_point until = wait.forever() ? Clock::time_point::max() : wait.until();
  auto call = std::make_unique<AsyncCall>(std::move(done));
  start_call(*channel, *call.release(), std::move(*frame), until);
  if (until != Clock::time_point::max()) set_timer(*channel, until);
  return {};
}

/// A slot in the window and in the table of calls. Both have the same size, but a call whose
/// request was taken keeps its entry until the reply.
Result<void> Engine::wait_for_call(const Remote& to, const Wait* wait, Channel*& channel) {
  for (;;) {
    auto room = wait_for_room(to, wait);
    if (!room) return tl::make_unexpected(room.error());
    channel = *room;
    const Number next = channel->core.out(Stream::messages).next();
    const auto busy = [&](Channel& at) {
      return at.calls != nullptr && (*at.calls)[next % channel::kWindow] != nullptr;
    };
    if (!busy(*channel)) return {};
    counters_->back_pressure.add();
    if (wait == nullptr) return fail(Errc::would_block);
    auto done = run_until(
        [&] {
          channel = find(to);
          return channel == nullptr || channel->dead || !busy(*channel);
        },
        *wait);
    if (!done) return done;
  }
}

void Engine::on_reply(Channel& channel, const wire::Header& header, fabric::FramePtr frame) {
  // A reply counts as received when it arrives: somebody waits for it, or nobody ever will.
  taken(channel, Stream::replies, header.number, false);
  if (channel.calls == nullptr) return;
  PendingCall*& entry = (*channel.calls)[header.call % channel::kWindow];
  if (entry == nullptr || entry->number != header.call) return;  // given up meanwhile
  PendingCall& call = *std::exchange(entry, nullptr);
  --channel.calls_waiting;
  if (header.status != 0) [[unlikely]] {
    Error error{static_cast<Errc>(header.status), std::string(text_of(frame->payload())),
                channel.remote.to_string(), Outcome::unknown};
    complete(call, tl::make_unexpected(std::move(error)));
    return;
  }
  counters_->replies.add();
  complete(call, Message(std::move(frame), channel.remote, Message::Kind::reply));
}

void Engine::complete(PendingCall& call, Result<Message>&& result) {
  call.channel = nullptr;
  if (call.complete == &AsyncCall::done) {
    // Users' code runs at the top of progress(), never inside a transport.
    completions_.emplace_back(&call, std::move(result));
  } else {
    call.complete(call, std::move(result));
  }
}

void Engine::forget_call(PendingCall& call) {
  PendingCall*& entry = (*call.channel->calls)[call.number % channel::kWindow];
  if (entry != &call) return;
  entry = nullptr;
  --call.channel->calls_waiting;
  call.channel = nullptr;
}

void Engine::expire_calls(Channel& channel, Clock::time_point now) {
  if (channel.calls == nullptr || channel.calls_waiting == 0) return;
  Clock::time_point next = Clock::time_point::max();
  for (PendingCall*& entry : *channel.calls) {
    if (entry == nullptr || entry->deadline == Clock::time_point::max()) continue;
    if (entry->deadline > now) {
      next = std::min(next, entry->deadline);
      continue;
    }
    PendingCall& call = *std::exchange(entry, nullptr);
    --channel.calls_waiting;
    counters_->failed.add();
    complete(call, tl::make_unexpected(Error{
                       Errc::deadline_exceeded, {}, channel.remote.to_string(), Outcome::unknown}));
  }
  if (next != Clock::time_point::max()) set_timer(channel, next);
}

// --- the server --------------------------------------------------------------------------------

Result<Request> Engine::receive_request(std::uint32_t endpoint, const Wait& wait) {
  LocalEndpoint& local = *endpoints_[endpoint];
  if (!local.open) return fail(Errc::closed);
  Channel* channel = nullptr;
  const auto look = [&] {
    if (local.attention && !attend(local)) [[unlikely]]
      return local.gate == LocalEndpoint::Gate::left;
    return (channel = next_ready(local, true)) != nullptr;
  };
  if (!look()) {
    auto error = progress_until(look, wait);
    if (error) return tl::make_unexpected(std::move(*error));
  }
  if (channel == nullptr) [[unlikely]]
    return tl::make_unexpected(local.farewell());
  fabric::FramePtr frame = channel->requests.pop();
  const wire::Header header = wire::header_of(frame->header);
  Request request(this, channel->index, channel->serial, header.number,
                  Message(std::move(frame), channel->remote, Message::Kind::request));
  ++channel->executing;
  if (local.last_requests != 0) [[unlikely]]
    --local.last_requests;
  taken(*channel, Stream::messages, header.number, false);
  after_take(*channel);
  counters_->requests.add();
  return request;
}

Result<Request> Engine::as_request(Message message) {
  if (message.kind() != Message::Kind::request || message.frame_ == nullptr) {
    return fail(Errc::invalid_argument, "only a message of kind request can be answered");
  }
  // The frame's header was kept, and names the channel.
  const wire::Header header = wire::header_of(message.frame_->header);
  Channel* channel = named_by(header.channel);
  if (channel != nullptr) ++channel->executing;
  counters_->requests.add();
  return Request(this, channel != nullptr ? channel->index : 0,
                 channel != nullptr ? channel->serial : 0, header.number, std::move(message));
}

Result<void> Engine::reply(Request request, Bytes payload, fabric::Buffer buffer, Errc status) {
  if (request.engine_ != this)
    return fail(Errc::invalid_argument, "the request was answered before");
  const std::size_t size = buffer.empty() ? payload.size() : buffer.size();
  if (size > kMaxMessage) return fail(Errc::too_large, "a reply is limited to 16 MiB: use a grant");
  request.engine_ = nullptr;
  const std::uint32_t channel = request.channel_;
  const std::uint32_t serial = request.serial_;
  const std::uint32_t number = request.number_;
  if (on_own_thread()) [[likely]] {
    auto frame = buffer.empty() ? make_frame(payload) : make_frame(std::move(buffer));
    if (!frame) {
      request.engine_ =
          status == Errc{} ? this : nullptr;  // still unanswered: its destructor tells the caller
      return tl::make_unexpected(frame.error());
    }
    return reply_here(channel, serial, number, std::move(*frame), status);
  }
  // Pools belong to the engine's thread: another thread hands over a copy.
  std::vector<std::byte> bytes(size);
  if (size != 0) std::memcpy(bytes.data(), buffer.empty() ? payload.data() : buffer.data(), size);
  post([this, channel, serial, number, status, bytes = std::move(bytes)] {
    auto frame = make_frame(Bytes(bytes));
    Errc told = status;
    if (!frame) {
      frame = make_frame(Bytes());
      told = Errc::no_memory;
    }
    if (frame) (void)reply_here(channel, serial, number, std::move(*frame), told);
  });
  return {};
}

Result<void> Engine::reply_here(std::uint32_t index, std::uint32_t serial, std::uint32_t number,
                                fabric::FramePtr frame, Errc status) {
  Channel* channel = find(index, serial);
  counters_->answered.add();
  if (channel != nullptr) --channel->executing;
  if (channel == nullptr || channel->dead) {  // nobody waits for it any more
    if (channel != nullptr) free_if_done(*channel);
    return {};
  }
  if (channel->core.out(Stream::replies).full() || !channel->replies_waiting.empty()) {
    // A caller that gave up on calls may have more requests with us than the window has slots.
    wire::Header header;
    header.status = static_cast<std::uint16_t>(status);
    header.call = number;
    wire::set_header(frame->header, header);
    channel->replies_waiting.push(std::move(frame));
    return {};
  }
  enqueue(*channel, Stream::replies, std::move(frame), wire::Type::reply, 0,
          static_cast<std::uint16_t>(status), number);
  return {};
}

void Engine::send_waiting_replies(Channel& channel) {
  while (!channel.replies_waiting.empty() && !channel.core.out(Stream::replies).full()) {
    fabric::FramePtr frame = channel.replies_waiting.pop();
    const wire::Header header = wire::header_of(frame->header);
    enqueue(channel, Stream::replies, std::move(frame), wire::Type::reply, 0, header.status,
            header.call);
  }
}

Request::~Request() {
  if (engine_ == nullptr) return;
  Engine* engine = engine_;
  (void)engine->reply(std::move(*this), bytes_of("the server dropped the request unanswered"), {},
                      Errc::closed);
  engine_ = nullptr;
}

}  // namespace godwit
