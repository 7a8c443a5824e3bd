// Engine: one-sided copies at their requester.
//
// Within a node, and over RDMA, the owner leases the range and the requester copies by itself
// (engine_grants.cc). Elsewhere the bytes are streamed as frames, from and into the users' memory
// (engine_copy_frames.cc).
// A copy that a broken connection interrupted goes on in the next session from the last byte that
// is certain.
#include <algorithm>

#include "engine/engine.h"
#include "godwit/fabric/handshake.h"

namespace godwit {

namespace {

constexpr std::uint64_t kLeaseStep = 8 << 20;  // bytes per direct copy, between two looks around

}  // namespace

Result<void> Engine::copy(std::uint32_t endpoint, const GrantRef& ref, std::uint64_t offset,
                          std::span<std::byte> memory, bool to_owner, const Wait& wait) {
  if (!within(offset, memory.size(), ref.length)) {
    return fail(Errc::out_of_bounds, "outside the grant", ref.owner.to_string());
  }
  if (memory.empty()) return {};
  const Wait absolute(wait.forever() ? Clock::time_point::max() : wait.until(), wait.stop());
  auto owner = lookup(endpoint, ref.owner, absolute);
  if (!owner) return tl::make_unexpected(owner.error());
  Copy copy;
  copy.memory = memory;
  copy.to_owner = to_owner;
  copy.request.key = ref.key;
  copy.request.offset = offset;
  copy.request.length = memory.size();
  start_copy(*find(*owner), copy);
  return run_copy(copy, absolute);
}

Result<void> Engine::run_copy(Copy& copy, const Wait& wait) {
  // The clock is looked at in each round: one that moves bytes is long, and many may follow each
  // other before the engine is idle for a moment.
  const auto until = wait.until();
  const auto expired = [until] {
    return until != Clock::time_point::max() && Clock::now() >= until;
  };
  auto done = run_until([&] { return copy.result.has_value() || expired(); }, wait);
  if (done && !copy.result) done = fail(Errc::deadline_exceeded);
  if (!done && copy.channel != nullptr) done.error().message = why_silent(*copy.channel);
  if (!done && !copy.result) finish_copy(copy, tl::make_unexpected(done.error()));
  if (copy.busy()) {
    // Frames in a connection's queue, or its device, still refer to the caller's memory.
    fabric::Connection* connection =
        copy.direct.under_way() ? copy.direct_over : copy.last_connection;
    const auto over = [&] { return !copy.busy(); };
    if (!run_until(over, std::chrono::milliseconds(500))) {
      if (connections_.contains(connection))
        connection->close(Error{Errc::connection_lost, "a copy was given up", {}});
      // A closed connection lets go of it soon; before it has, the memory cannot be given back.
      (void)run_until(over, Wait());
    }
  }
  if (copy.state != Copy::State::done) conclude(copy);
  return std::move(*copy.result);
}

void Engine::start_copy(Channel& channel, Copy& copy) {
  copy.channel = &channel;
  copies_.push_back(&copy);
  ++channel.copies;
  if (channel.dead) {
    finish_copy(copy, fail(Errc::endpoint_died, {}, channel.remote.to_string()));
    return;
  }
  copy.state = Copy::State::starting;
  if (!channel.core.attached()) serve(channel);
}

/// In a new session whatever was under way in the last one starts again where it is certain. Within
/// a session a request may have been lost, at a gate that was shut: what was answered goes on.
void Engine::restart_copies(Channel& channel, bool in_new_session) {
  for (Copy* copy : copies_) {
    if (copy->channel != &channel || copy->result) continue;
    if (!in_new_session) {
      if (copy->state != Copy::State::waiting) continue;
      say_of_copy(channel, wire::Type::copy_end, copy->token);
    }
    copy->state = Copy::State::starting;
    if (copy->direct.under_way()) copy->direct_over->give_up(copy->direct);
  }
}

void Engine::fail_copies(Channel& channel, const Error& error) {
  for (Copy* copy : std::vector<Copy*>(copies_)) {
    if (copy->channel != &channel) continue;
    if (copy->result) {
      conclude(*copy);
    } else {
      finish_copy(*copy, tl::make_unexpected(error));
    }
  }
}

void Engine::finish_copy(Copy& copy, Result<void> result) {
  if (copy.result) return;
  copy.result = std::move(result);
  if (copy.direct.under_way()) {
    copy.direct_over->give_up(copy.direct);
    const bool leased = copy.state == Copy::State::leased || copy.state == Copy::State::recalled;
    if (copy.direct.under_way() && leased && copy.channel->core.attached()) {
      copy.state = Copy::State::ending;  // the lease ends when nothing is under way any more
      return;
    }
  }
  conclude(copy);
}

void Engine::conclude(Copy& copy) {
  std::erase(copies_, &copy);
  if (copy.channel != nullptr) {
    --copy.channel->copies;
    const bool lease = copy.state == Copy::State::leased || copy.state == Copy::State::recalled ||
                       copy.state == Copy::State::ending;
    const bool asked = copy.state != Copy::State::starting;
    if ((lease || (!*copy.result && asked)) && copy.channel->core.attached())
      say_of_copy(*copy.channel, wire::Type::copy_end, copy.token);
  }
  copy.channel = nullptr;
  copy.state = Copy::State::done;
  if (copy.on_done) std::exchange(copy.on_done, {})(copy);
}

void Engine::run_copies() {
  if (!unsaid_.empty()) say_unsaid();
  for (Copy* copy : std::vector<Copy*>(copies_)) {
    if (std::find(copies_.begin(), copies_.end(), copy) != copies_.end()) advance_copy(*copy);
  }
  for (auto& transfer : transfers_) advance_transfer(*transfer);
  std::erase_if(transfers_, [](const auto& transfer) {
    if (transfer->channel != nullptr || transfer->in_flight != 0) return false;
    --transfer->grant->users;
    return true;
  });
  std::erase_if(errands_, [](const auto& copy) { return copy->state == Copy::State::done; });
  std::erase_if(pushes_, [](const auto& push) {
    if (push->copy.state != Copy::State::done || push->copy.busy()) return false;
    --push->grant->users;
    return true;
  });
}

void Engine::advance_copy(Copy& copy) {
  if (copy.direct.under_way()) return;
  std::optional<Error> error;
  if (std::exchange(copy.direct_over, nullptr) != nullptr) {
    copy.progress += copy.direct.completed;
    counters_->bytes_copied.add(copy.direct.completed);
    error = std::exchange(copy.direct.error, std::nullopt);
  }
  if (copy.state == Copy::State::ending) return conclude(copy);
  Channel& channel = *copy.channel;
  if (!channel.core.attached() || channel.connection == nullptr) return;
  switch (copy.state) {
    case Copy::State::starting:
      return request_copy(copy);
    case Copy::State::streaming:
      return stream_copy(copy);
    case Copy::State::leased:
    case Copy::State::recalled:
      return advance_leased(copy, error);
    case Copy::State::waiting:
    case Copy::State::ending:
    case Copy::State::done:
      return;
  }
}

/// What is certain stays done: what was streamed to the owner is so only when that says so.
void Engine::request_copy(Copy& copy) {
  using Operation = wire::CopyOperation;
  Channel& channel = *copy.channel;
  // What is half-way into the memory must not come after what is asked for now.
  if (copy.in_flight != 0) {
    leave_behind(copy.last_connection, channel);
    if (!copy.to_owner) return;
  }
  wire::CopyRequest request = copy.request;
  if (!copy.memory.empty()) {
    const std::uint64_t left = copy.memory.size() - copy.progress;
    if (left == 0) return finish_copy(copy, {});
    const bool direct = !copy.no_lease && left >= channel.connection->one_sided_from() &&
                        (channel.connection->peer().features & fabric::Handshake::kLeases) != 0;
    request.operation = copy.to_owner ? (direct ? Operation::lease_write : Operation::write)
                                      : (direct ? Operation::lease_read : Operation::read);
    copy.base = copy.progress;
    request.offset += copy.base;
    request.length -= copy.base;
  }
  copy.streamed = 0;
  copy.token = next_token_++;
  wire::Header header;
  header.type = wire::Type::copy_request;
  header.flags = copy.to_owner ? wire::kToOwner : 0;
  header.channel = channel.core.peer_index();
  header.call = copy.token;
  if (owes_words(channel) || !post_control(*channel.connection, header, request)) return;
  copy.last_connection = channel.connection;
  copy.state = Copy::State::waiting;
}

/// Nothing is under way now; `error` is how the last piece ended.
void Engine::advance_leased(Copy& copy, const std::optional<Error>& error) {
  if (copy.progress == copy.memory.size()) return finish_copy(copy, {});
  Channel& channel = *copy.channel;
  const bool refused = error && error->code == Errc::not_supported;
  const bool broken = error && error->code == Errc::connection_lost;
  const bool cancelled = error && error->code == Errc::cancelled;
  if (error && !refused && !broken && !cancelled)
    return finish_copy(copy, tl::make_unexpected(*error));
  if (broken) return;  // the next session goes on
  const std::uint64_t used = copy.progress - copy.base;
  if (refused || used == copy.lease.length || copy.state == Copy::State::recalled) {
    // Where this kernel forbids it, streaming takes one copy more.
    copy.no_lease = copy.no_lease || refused;
    say_of_copy(channel, wire::Type::copy_end, copy.token);
    copy.state = Copy::State::starting;
    return;
  }
  const std::uint64_t size = std::min(kLeaseStep, copy.lease.length - used);
  copy.direct.remote = {copy.lease.address + used, copy.lease.key};
  copy.direct.local = copy.memory.subspan(copy.progress, size);
  copy.direct.access = copy.to_owner ? fabric::Access::write : fabric::Access::read;
  copy.direct_over = channel.connection;
  channel.connection->start(copy.direct);
}

void Engine::on_copy_lease(Channel& channel, const wire::Header& header,
                           const wire::CopyLease& lease) {
  for (Copy* copy : copies_) {
    if (copy->channel != &channel || copy->token != header.call ||
        copy->state != Copy::State::waiting)
      continue;
    copy->lease = lease;
    copy->lease.length = std::min<std::uint64_t>(lease.length, copy->memory.size() - copy->base);
    copy->no_lease = copy->lease.length == 0;
    copy->state = copy->no_lease ? Copy::State::starting : Copy::State::leased;
    return;
  }
}

void Engine::on_copy_recall(Channel& channel, const wire::Header& header) {
  for (Copy* copy : copies_) {
    if (copy->channel != &channel || copy->token != header.call) continue;
    if (copy->state == Copy::State::streaming) copy->state = Copy::State::starting;
    if (copy->state != Copy::State::leased) continue;
    copy->state = Copy::State::recalled;
    if (copy->direct.under_way()) copy->direct_over->give_up(copy->direct);
    return;
  }
}

void Engine::on_copy_answer(Channel& channel, const wire::Header& header,
                            const wire::CopyAnswer& answer) {
  for (Copy* copy : copies_) {
    if (copy->channel != &channel || copy->token != header.call || copy->result) continue;
    // It crossed our word that the request is taken back: the owner has dropped what it says.
    if (copy->state == Copy::State::starting) return;
    if (answer.status != 0) {
      finish_copy(*copy, fail(static_cast<Errc>(answer.status), "the owner refused the copy",
                              channel.remote.to_string()));
    } else if (answer.final != 0) {
      const bool incomplete =
          !copy->memory.empty() && !copy->to_owner && copy->progress != copy->memory.size();
      copy->value = answer.value;
      if (incomplete) {
        copy->state = Copy::State::starting;  // frames were dropped: fetch the rest
      } else {
        finish_copy(*copy, {});
      }
    } else {
      copy->state = Copy::State::streaming;
    }
    return;
  }
}

}  // namespace godwit
