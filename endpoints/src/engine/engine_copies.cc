// Engine: grants and one-sided copies.
//
// Within a node the owner checks a request once and leases the range; the requester then copies by
// itself, straight between the two memories. Elsewhere the bytes are streamed as frames, from and
// into the users' memory, and a copy that a broken connection interrupted goes on in the next
// session from the last byte that is certain. A copy between two other endpoints is a delegated
// grant at the one and a copy by the other's engine.
#include <algorithm>
#include <cstring>

#include <sodium.h>

#include "engine/engine.h"

namespace godwit {

namespace {

constexpr std::uint32_t kChunk = 256 << 10;    // bytes per streamed frame
constexpr std::uint64_t kLeaseStep = 8 << 20;  // bytes per direct copy, between two looks around
constexpr std::uint32_t kMaxInFlight = 16;     // streamed frames that wait in the connection

void count_down(void* context, std::uint64_t) noexcept {
  --*static_cast<std::uint32_t*>(context);
}

/// The 64-bit offset of a copy_data frame lies where other frames carry acknowledgements.
std::uint64_t offset_of(const wire::Header& header) noexcept {
  return header.ack_messages | std::uint64_t{header.ack_replies} << 32;
}

bool within(std::uint64_t offset, std::uint64_t length, std::uint64_t size) noexcept {
  return offset <= size && length <= size - offset;
}

}  // namespace

// --- grants ------------------------------------------------------------------------------------

Result<GrantRef> Engine::grant(std::uint32_t endpoint, std::span<std::byte> memory, Rights rights,
                               std::optional<EndpointId> peer) {
  LocalEndpoint& local = *endpoints_[endpoint];
  if (!local.open) return fail(Errc::closed);
  if (memory.empty()) return fail(Errc::invalid_argument, "a grant needs at least one byte");
  GrantRef ref;
  ref.owner = local.id;
  ref.length = memory.size();
  ref.rights = rights;
  randombytes_buf(&ref.key, sizeof ref.key);
  auto grant = std::make_shared<Grant>();
  grant->memory = memory.data();
  grant->length = memory.size();
  grant->rights = rights;
  grant->peer = peer;
  local.grants[ref.key] = std::move(grant);
  return ref;
}

Result<void> Engine::revoke(std::uint32_t endpoint, const GrantRef& ref, const Wait& wait) {
  LocalEndpoint& local = *endpoints_[endpoint];
  const auto known = local.grants.find(ref.key);
  if (known == local.grants.end()) return fail(Errc::not_found, "no such grant");
  const std::shared_ptr<Grant> grant = known->second;
  grant->revoked = true;
  if (grant->users != 0) {
    auto done = run_until([&] { return grant->users == 0; }, wait);
    if (!done) return done;  // revoked all the same; asking again waits again
  }
  local.grants.erase(ref.key);
  return {};
}

/// A grant that has moved with its endpoint gets its memory back.
Result<void> Engine::regrant(std::uint32_t endpoint, const GrantRef& ref,
                             std::span<std::byte> memory) {
  LocalEndpoint& local = *endpoints_[endpoint];
  const auto known = local.grants.find(ref.key);
  if (known == local.grants.end()) return fail(Errc::not_found, "no such grant");
  Grant& grant = *known->second;
  if (grant.memory != nullptr) return fail(Errc::invalid_argument, "the grant has its memory");
  if (memory.size() != grant.length) {
    return fail(Errc::invalid_argument, "the grant is of " + std::to_string(grant.length) +
                                            " bytes, not " + std::to_string(memory.size()));
  }
  grant.memory = memory.data();
  return {};
}

// --- the owner ---------------------------------------------------------------------------------

void Engine::answer_copy(Channel& channel, std::uint32_t token, Errc status, std::uint64_t value,
                         bool final) {
  wire::Header header;
  header.type = wire::Type::copy_answer;
  header.channel = channel.core.peer_index();
  header.call = token;
  const wire::CopyAnswer answer{value, static_cast<std::uint32_t>(status), final ? 1u : 0u};
  if (channel.connection != nullptr) post_control(*channel.connection, header, answer);
}

void Engine::on_copy_request(Channel& channel, const wire::Header& header,
                             const wire::CopyRequest& request) {
  using Operation = wire::CopyOperation;
  const auto refuse = [&](Errc status) { answer_copy(channel, header.call, status, 0, true); };
  // A moving endpoint begins no copy; the requester asks again in the next session.
  if (channel.local->gate != LocalEndpoint::Gate::open) return;
  const auto known = channel.local->grants.find(request.key);
  if (known == channel.local->grants.end() || known->second->revoked ||
      known->second->memory == nullptr)
    return refuse(Errc::not_found);
  const std::shared_ptr<Grant>& grant = known->second;
  const bool writes =
      request.operation == Operation::write || request.operation == Operation::lease_write ||
      (request.operation == Operation::delegate && (header.flags & wire::kToOwner) != 0);
  const Rights needed = writes ? Rights::write : Rights::read;
  if ((static_cast<int>(grant->rights) & static_cast<int>(needed)) == 0 ||
      (grant->peer && *grant->peer != channel.remote)) {
    return refuse(Errc::permission_denied);
  }
  if (!within(request.offset, request.length, grant->length)) return refuse(Errc::out_of_bounds);

  if (request.operation == Operation::delegate) {
    // A grant of this range alone, for the third party alone. It ends with its one use, or with us.
    auto made = this->grant(channel.local->index, {grant->memory + request.offset, request.length},
                            needed, request.third);
    if (!made) return refuse(made.error().code);
    return answer_copy(channel, header.call, Errc{}, made->key, true);
  }
  if (request.operation == Operation::push) {
    start_push(channel, header.call, grant, request);
    return;
  }
  auto transfer = std::make_unique<Transfer>();
  transfer->channel = &channel;
  transfer->token = header.call;
  transfer->grant = grant;
  transfer->memory = grant->memory + request.offset;
  transfer->length = request.length;
  transfer->to_owner = writes;
  transfer->lease =
      request.operation == Operation::lease_read || request.operation == Operation::lease_write;
  ++grant->users;
  if (transfer->lease) {
    answer_copy(channel, header.call, Errc{}, reinterpret_cast<std::uint64_t>(transfer->memory),
                false);
  } else if (writes) {
    answer_copy(channel, header.call, Errc{}, 0, false);
  }
  transfers_.push_back(std::move(transfer));
}

/// Copies a granted range of ours into a grant elsewhere, on behalf of the channel's peer.
void Engine::start_push(Channel& channel, std::uint32_t token, const std::shared_ptr<Grant>& grant,
                        const wire::CopyRequest& request) {
  struct Push {
    Copy copy;
    std::shared_ptr<Grant> grant;
  };
  auto push = std::make_shared<Push>();
  push->grant = grant;
  ++grant->users;
  Copy& copy = push->copy;
  copy.memory = {grant->memory + request.offset, request.length};
  copy.to_owner = true;
  copy.request.key = request.third_key;
  copy.request.offset = request.third_offset;
  copy.request.length = request.length;
  copy.on_done = [this, push, token, index = channel.index,
                  serial = channel.serial](Copy& done) mutable {
    --push->grant->users;
    Channel* requester = find(index, serial);
    if (requester != nullptr && !requester->dead && requester->core.attached()) {
      answer_copy(*requester, token, *done.result ? Errc{} : done.result->error().code, 0, true);
    }
    // Lets go of the copy once this function has returned.
    post([push = std::move(push)] {});
  };
  LocalEndpoint& local = *channel.local;
  const EndpointId target = request.third;
  const auto begin = [this, &copy](Channel& to) { start_copy(to, copy); };
  if (const auto open = local.channels.find(target); open != local.channels.end()) {
    begin(*open->second);
    return;
  }
  resolver_->locate(
      target, [this, mailbox = mailbox_, push, index = local.index](Result<EndpointPlace> place) {
        auto shared = std::make_shared<Result<EndpointPlace>>(std::move(place));
        mailbox->post([this, push, index, shared] {
          auto remote = *shared ? reach(*endpoints_[index], **shared)
                                : Result<Remote>(tl::make_unexpected(shared->error()));
          if (remote) {
            start_copy(*find(*remote), push->copy);
          } else {
            finish_copy(push->copy, tl::make_unexpected(remote.error()));
          }
        });
      });
}

void Engine::on_copy_end(Channel& channel, const wire::Header& header) {
  for (auto& transfer : transfers_) {
    if (transfer->channel == &channel && transfer->token == header.call)
      transfer->channel = nullptr;
  }
}

/// The session is over: the requester starts its copies again in the next one.
void Engine::end_transfers(Channel& channel) {
  for (auto& transfer : transfers_) {
    if (transfer->channel == &channel) transfer->channel = nullptr;
  }
}

void Engine::advance_transfer(Transfer& transfer) {
  Channel& channel = *transfer.channel;
  if (transfer.lease || transfer.to_owner) return;
  while (transfer.progress < transfer.length && transfer.in_flight < kMaxInFlight) {
    const std::uint64_t size = std::min<std::uint64_t>(kChunk, transfer.length - transfer.progress);
    if (!post_data(channel, transfer.token, transfer.progress,
                   {transfer.memory + transfer.progress, size}, 0, &transfer.in_flight)) {
      return;
    }
    transfer.progress += size;
    counters_->bytes_copied.add(size);
  }
  if (transfer.progress == transfer.length) {
    answer_copy(channel, transfer.token, Errc{}, 0, true);
    transfer.channel = nullptr;
  }
}

// --- frames of bytes ---------------------------------------------------------------------------

bool Engine::post_data(Channel& channel, std::uint32_t token, std::uint64_t offset,
                       std::span<const std::byte> bytes, std::uint8_t flags,
                       std::uint32_t* in_flight) {
  fabric::FramePtr frame = fabric_->frames().allocate(0);
  if (frame == nullptr) return false;
  wire::Header header;
  header.type = wire::Type::copy_data;
  header.flags = flags;
  header.channel = channel.core.peer_index();
  header.call = token;
  header.ack_messages = static_cast<std::uint32_t>(offset);
  header.ack_replies = static_cast<std::uint32_t>(offset >> 32);
  wire::set_header(frame->header, header);
  frame->header.length = static_cast<std::uint32_t>(bytes.size());
  ++*in_flight;
  frame->large =
      fabric::Buffer(const_cast<std::byte*>(bytes.data()), bytes.size(), &count_down, in_flight);
  return channel.connection->post(frame) == fabric::SendStatus::sent;
}

/// Where the bytes of a data frame belong, if it fits a copy that is under way.
std::byte* Engine::copy_destination(Channel& channel, const wire::Header& header,
                                    std::uint32_t length) {
  const std::uint64_t offset = offset_of(header);
  if ((header.flags & wire::kToOwner) != 0) {
    for (const auto& transfer : transfers_) {
      if (transfer->channel != &channel || transfer->token != header.call || !transfer->to_owner ||
          transfer->lease || !within(offset, length, transfer->length)) {
        continue;
      }
      return transfer->memory + offset;
    }
    return nullptr;
  }
  for (Copy* copy : copies_) {
    // The owner counts from where this session's request began.
    if (copy->channel != &channel || copy->token != header.call || copy->to_owner ||
        !within(copy->base + offset, length, copy->memory.size())) {
      continue;
    }
    return copy->memory.data() + copy->base + offset;
  }
  return nullptr;
}

void Engine::on_copy_data(Channel& channel, const fabric::FrameHeader& frame,
                          const wire::Header& header, std::span<const std::byte> payload) {
  if (payload.size() != frame.length) return;  // no copy wanted it any more
  std::byte* destination = copy_destination(channel, header, frame.length);
  if (destination == nullptr) return;
  if (payload.data() != destination) std::memcpy(destination, payload.data(), payload.size());
  if ((header.flags & wire::kToOwner) != 0) {
    for (auto& transfer : transfers_) {
      if (transfer->channel != &channel || transfer->token != header.call) continue;
      transfer->progress += payload.size();
      counters_->bytes_copied.add(payload.size());
      if (transfer->progress >= transfer->length) {
        answer_copy(channel, header.call, Errc{}, 0, true);
        transfer->channel = nullptr;
      }
      return;
    }
    return;
  }
  for (Copy* copy : copies_) {
    if (copy->channel == &channel && copy->token == header.call) copy->progress += payload.size();
  }
}

// --- the requester -----------------------------------------------------------------------------

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

Result<void> Engine::copy_between(std::uint32_t endpoint, const GrantRef& from,
                                  std::uint64_t from_offset, const GrantRef& to,
                                  std::uint64_t to_offset, std::uint64_t length, const Wait& wait) {
  if (!within(from_offset, length, from.length) || !within(to_offset, length, to.length)) {
    return fail(Errc::out_of_bounds, "outside the grant");
  }
  if (length == 0) return {};
  const Wait absolute(wait.forever() ? Clock::time_point::max() : wait.until(), wait.stop());
  auto source = lookup(endpoint, from.owner, absolute);
  if (!source) return tl::make_unexpected(source.error());
  auto target = lookup(endpoint, to.owner, absolute);
  if (!target) return tl::make_unexpected(target.error());

  Copy delegate;
  delegate.to_owner = true;
  delegate.request.operation = wire::CopyOperation::delegate;
  delegate.request.key = to.key;
  delegate.request.offset = to_offset;
  delegate.request.length = length;
  delegate.request.third = from.owner;
  start_copy(*find(*target), delegate);
  auto delegated = run_copy(delegate, absolute);
  if (!delegated) return delegated;

  Copy push;
  push.request.operation = wire::CopyOperation::push;
  push.request.key = from.key;
  push.request.offset = from_offset;
  push.request.length = length;
  push.request.third = to.owner;
  push.request.third_key = delegate.value;
  Channel* channel = find(*source);
  if (channel == nullptr) return fail(Errc::endpoint_died, {}, from.owner.to_string());
  start_copy(*channel, push);
  return run_copy(push, absolute);
}

Result<void> Engine::run_copy(Copy& copy, const Wait& wait) {
  auto done = run_until([&] { return copy.result.has_value(); }, wait);
  if (!done && copy.channel != nullptr) done.error().message = why_silent(*copy.channel);
  if (!done && !copy.result) finish_copy(copy, tl::make_unexpected(done.error()));
  if (copy.in_flight != 0) {
    // Frames in a connection's queue still refer to the caller's memory.
    fabric::Connection* connection = copy.last_connection;
    if (!run_until([&] { return copy.in_flight == 0; }, std::chrono::milliseconds(500)) &&
        connections_.count(connection) != 0) {
      connection->close(Error{Errc::connection_lost, "a copy was given up", {}});
      (void)run_until([&] { return copy.in_flight == 0; }, std::chrono::seconds(5));
    }
  }
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

/// A new session: whatever was under way in the last one starts again where it is certain.
void Engine::restart_copies(Channel& channel) {
  for (Copy* copy : copies_) {
    if (copy->channel == &channel && copy->state != Copy::State::done)
      copy->state = Copy::State::starting;
  }
}

void Engine::fail_copies(Channel& channel, const Error& error) {
  for (Copy* copy : std::vector<Copy*>(copies_)) {
    if (copy->channel == &channel) finish_copy(*copy, tl::make_unexpected(error));
  }
}

void Engine::finish_copy(Copy& copy, Result<void> result) {
  if (copy.result) return;
  std::erase(copies_, &copy);
  if (copy.channel != nullptr) {
    --copy.channel->copies;
    const bool leased = copy.state == Copy::State::leased;
    if ((leased || !result) && copy.state != Copy::State::starting &&
        copy.channel->core.attached()) {
      wire::Header header;
      header.type = wire::Type::copy_end;
      header.channel = copy.channel->core.peer_index();
      header.call = copy.token;
      post_control(*copy.channel->connection, header, {});
    }
  }
  copy.channel = nullptr;
  copy.state = Copy::State::done;
  copy.result = std::move(result);
  if (copy.on_done) std::exchange(copy.on_done, {})(copy);
}

void Engine::run_copies() {
  for (Copy* copy : std::vector<Copy*>(copies_)) {
    if (std::find(copies_.begin(), copies_.end(), copy) != copies_.end()) advance_copy(*copy);
  }
  for (auto& transfer : transfers_) {
    if (transfer->channel != nullptr) advance_transfer(*transfer);
  }
  std::erase_if(transfers_, [](const auto& transfer) {
    if (transfer->channel != nullptr || transfer->in_flight != 0) return false;
    --transfer->grant->users;
    return true;
  });
}

void Engine::advance_copy(Copy& copy) {
  Channel& channel = *copy.channel;
  if (!channel.core.attached() || channel.connection == nullptr) return;
  using Operation = wire::CopyOperation;
  switch (copy.state) {
    case Copy::State::starting: {
      // Frames of an earlier session must be out of the way: a late one would be counted twice.
      wire::CopyRequest request = copy.request;
      const bool moves_bytes = !copy.memory.empty();
      if (moves_bytes) {
        const bool direct =
            channel.connection->kind() == fabric::TransportKind::shm && !copy.no_lease;
        request.operation = copy.to_owner ? (direct ? Operation::lease_write : Operation::write)
                                          : (direct ? Operation::lease_read : Operation::read);
        // What is certain stays done; streamed writes are certain only when the owner says so.
        copy.base = copy.to_owner && !direct ? 0 : copy.progress;
        if (copy.to_owner && !direct) copy.progress = 0;
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
      if (!post_control(*channel.connection, header, request)) return;
      copy.last_connection = channel.connection;
      copy.state = Copy::State::waiting;
      return;
    }
    case Copy::State::streaming: {
      const std::uint64_t length = copy.memory.size();
      while (copy.streamed < length && copy.in_flight < kMaxInFlight) {
        const std::uint64_t size = std::min<std::uint64_t>(kChunk, length - copy.streamed);
        if (!post_data(channel, copy.token, copy.streamed, copy.memory.subspan(copy.streamed, size),
                       wire::kToOwner, &copy.in_flight)) {
          return;
        }
        copy.streamed += size;
        counters_->bytes_copied.add(size);
      }
      return;
    }
    case Copy::State::leased: {
      const std::uint64_t size =
          std::min<std::uint64_t>(kLeaseStep, copy.memory.size() - copy.progress);
      const std::span<std::byte> part = copy.memory.subspan(copy.progress, size);
      const std::uint64_t remote = copy.lease + copy.progress - copy.base;
      auto moved = copy.to_owner ? channel.connection->write_peer_memory(remote, part)
                                 : channel.connection->read_peer_memory(remote, part);
      if (!moved) {
        if (moved.error().code == Errc::not_supported) {
          // This kernel forbids it: stream instead, which takes one copy more.
          copy.no_lease = true;
          wire::Header header;
          header.type = wire::Type::copy_end;
          header.channel = channel.core.peer_index();
          header.call = copy.token;
          post_control(*channel.connection, header, {});
          copy.state = Copy::State::starting;
        } else if (moved.error().code != Errc::connection_lost) {
          finish_copy(copy, moved);
        }
        return;
      }
      copy.progress += size;
      counters_->bytes_copied.add(size);
      if (copy.progress == copy.memory.size()) finish_copy(copy, {});
      return;
    }
    case Copy::State::waiting:
    case Copy::State::done:
      return;
  }
}

void Engine::on_copy_answer(Channel& channel, const wire::Header& header,
                            const wire::CopyAnswer& answer) {
  for (Copy* copy : copies_) {
    if (copy->channel != &channel || copy->token != header.call) continue;
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
    } else if (answer.value != 0) {
      copy->lease = answer.value;
      copy->state = Copy::State::leased;
    } else {
      copy->state = Copy::State::streaming;
    }
    return;
  }
}

}  // namespace godwit
