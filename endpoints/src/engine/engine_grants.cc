// Engine: grants, and the copies against them at the owner of the memory.
//
// The owner checks a request once. Where the connection gives one-sided access, it leases the
// range: the requester then copies by itself, straight between the two memories, and says when it
// does so no more. Elsewhere the bytes are streamed as frames (engine_copies.cc).
#include <algorithm>

#include <sodium.h>

#include "engine/engine.h"
#include "godwit/fabric/handshake.h"

namespace godwit {

namespace {

// How long a requester has to end a lease that is wanted back, before it is shut out.
constexpr auto kRecallPatience = std::chrono::milliseconds(100);
// Between two attempts to shut a requester out that is in the middle of a copy.
constexpr auto kShutAgain = std::chrono::milliseconds(5);

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
  const auto unused = [&] { return grant->users == 0; };
  if (!unused()) {
    if (auto done = run_until(unused, wait); !done) {
      for (auto& transfer : transfers_) {
        if (transfer->grant != grant) continue;
        if (transfer->channel == nullptr) {
          hasten(*transfer);
        } else if (transfer->lease) {
          cut_lease(*transfer);
        } else {
          answer_copy(*transfer->channel, transfer->token, Errc::not_found, 0, true);
          cut_stream(*transfer);
        }
      }
      for (const auto& push : std::vector<std::shared_ptr<Push>>(pushes_)) {
        if (push->grant == grant) finish_copy(push->copy, fail(Errc::not_found));
      }
      run_copies();
      if (!unused()) return done;  // revoked all the same; asking again waits again
    }
  }
  local.grants.erase(ref.key);
  std::erase_if(local.grants, [&](const auto& entry) {
    return entry.second->part && entry.second->part->whole == ref.key;
  });
  return {};
}

/// A grant that has moved with its endpoint gets its memory back.
Result<void> Engine::regrant(std::uint32_t endpoint, const GrantRef& ref,
                             std::span<std::byte> memory) {
  LocalEndpoint& local = *endpoints_[endpoint];
  const auto known = local.grants.find(ref.key);
  if (known == local.grants.end()) return fail(Errc::not_found, "no such grant");
  Grant& grant = *known->second;
  if (grant.part) return fail(Errc::not_found, "no such grant");
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
  say_of_copy(channel, wire::Type::copy_answer, token,
              wire::CopyAnswer{value, static_cast<std::uint32_t>(status), final ? 1u : 0u});
}

void Engine::on_copy_request(Channel& channel, const wire::Header& header,
                             const wire::CopyRequest& request) {
  using Operation = wire::CopyOperation;
  const auto refuse = [&](Errc status) { answer_copy(channel, header.call, status, 0, true); };
  // A moving endpoint begins no copy; the requester asks again in the next session.
  LocalEndpoint& local = *channel.local;
  if (local.gate != LocalEndpoint::Gate::open) return;
  if (request.operation < Operation::read || request.operation > Operation::give_back)
    return refuse(Errc::not_supported);
  const auto known = local.grants.find(request.key);
  if (request.operation == Operation::give_back) {
    const bool there = known != local.grants.end() && known->second->part &&
                       known->second->part->asker == channel.remote;
    if (there) local.grants.erase(known);
    return answer_copy(channel, header.call, Errc{}, 0, true);
  }
  if (known == local.grants.end() || known->second->revoked) return refuse(Errc::not_found);
  const Grant& named = *known->second;
  const bool writes =
      request.operation == Operation::write || request.operation == Operation::lease_write ||
      (request.operation == Operation::delegate && (header.flags & wire::kToOwner) != 0);
  const Rights needed = writes ? Rights::write : Rights::read;
  if ((static_cast<int>(named.rights) & static_cast<int>(needed)) == 0 ||
      (named.peer && *named.peer != channel.remote)) {
    return refuse(Errc::permission_denied);
  }
  if (!within(request.offset, request.length, named.length)) return refuse(Errc::out_of_bounds);
  std::uint64_t offset = request.offset;
  const auto grant = memory_of(local, known->second, offset, request.length);
  if (grant == nullptr) return refuse(Errc::not_found);
  if (request.operation == Operation::delegate)
    return delegate(channel, header.call, named, needed, request);
  if (request.operation == Operation::push)
    return start_push(channel, header.call, grant, offset, request);
  auto transfer = std::make_unique<Transfer>();
  transfer->channel = &channel;
  transfer->owner = channel.local;
  transfer->requester = channel.remote;
  transfer->connection = channel.connection;
  transfer->token = header.call;
  transfer->grant = grant;
  transfer->memory = grant->memory + offset;
  transfer->length = request.length;
  transfer->to_owner = writes;
  transfer->lease =
      request.operation == Operation::lease_read || request.operation == Operation::lease_write;
  ++grant->users;
  begin_transfer(*transfer);
  transfers_.push_back(std::move(transfer));
}

/// Lets the requester go on, unless bytes that it wrote before may still come behind those.
void Engine::begin_transfer(Transfer& transfer) {
  if (transfer.to_owner && is_landing_on(transfer)) return;
  transfer.ready = true;
  if (transfer.lease) {
    if (!lease_out(transfer)) transfer.channel = nullptr;  // it is told to stream
  } else if (transfer.to_owner) {
    answer_copy(*transfer.channel, transfer.token, Errc{}, 0, false);
  }
}

/// Whether a frame of a former stream of the same requester is half-way into the same grant.
bool Engine::is_landing_on(const Transfer& transfer) {
  bool landing = false;
  for (const auto& each : transfers_) {
    if (each->channel != nullptr || each->in_flight == 0 || !each->to_owner ||
        each->grant != transfer.grant || each->requester != transfer.requester)
      continue;
    landing = true;
    leave_behind(each->connection, *transfer.channel);
  }
  return landing;
}

// --- leases ------------------------------------------------------------------------------------

/// Lets the requester into the range, or into what there is room for. False: it must do without.
bool Engine::lease_out(Transfer& transfer) {
  Channel& channel = *transfer.channel;
  auto exposure =
      channel.connection->expose({transfer.memory, transfer.length},
                                 transfer.to_owner ? fabric::Access::write : fabric::Access::read);
  wire::CopyLease lease{};
  if (exposure) {
    transfer.exposure = std::move(*exposure);
    transfer.length = transfer.exposure->size();
    const fabric::RemoteMemory& where = transfer.exposure->where();
    lease = {where.address, transfer.length, where.key, 0};
  }
  say_of_copy(channel, wire::Type::copy_lease, transfer.token, lease);
  return transfer.exposure != nullptr;
}

/// Asks for the leases of an endpoint back, and lets nothing more be streamed into its memory.
void Engine::recall(LocalEndpoint& local) {
  const auto now = Clock::now();
  for (auto& transfer : transfers_) {
    if (transfer->owner != &local || (!transfer->lease && !transfer->to_owner)) continue;
    if (transfer->channel == nullptr) {
      hasten(*transfer);
      continue;
    }
    Channel& channel = *transfer->channel;
    if (!transfer->ready) {
      transfer->channel = nullptr;  // it asks again
      continue;
    }
    if (transfer->orphan || transfer->cut_at != Clock::time_point::max()) continue;
    const bool heeds = channel.connection != nullptr &&
                       (channel.connection->peer().features & fabric::Handshake::kLeases) != 0;
    if (heeds) say_of_copy(channel, wire::Type::copy_recall, transfer->token);
    if (!transfer->lease) {
      cut_stream(*transfer);
      continue;
    }
    transfer->cut_at = now + kRecallPatience;
    set_timer(channel, transfer->cut_at);  // so that the engine does not sleep over it
  }
}

/// Lets no further frame of a stream refer to the memory.
void Engine::cut_stream(Transfer& transfer) {
  transfer.channel = nullptr;
  hasten(transfer);
}

/// The memory of a transfer that is over is wanted: frames that refer to it have a moment to get
/// through.
void Engine::hasten(Transfer& transfer) {
  if (transfer.in_flight == 0 || transfer.cut_at != Clock::time_point::max()) return;
  transfer.cut_at = Clock::now() + kRecallPatience;
  const auto& channels = transfer.owner->channels;
  const auto known = channels.find(transfer.requester);
  if (known != channels.end()) set_timer(*known->second, transfer.cut_at);
}

/// Ends a lease against the will of its requester; if that is in the middle of a copy, soon.
void Engine::cut_lease(Transfer& transfer) {
  if (transfer.exposure != nullptr && !transfer.exposure->close()) {
    transfer.cut_at = Clock::now() + kShutAgain;
    set_timer(*transfer.channel, transfer.cut_at);
    return;
  }
  // Otherwise it finds out, and asks again: at the new place of an endpoint that moves.
  const bool over = transfer.grant->revoked && !transfer.orphan;
  if (over) answer_copy(*transfer.channel, transfer.token, Errc::not_found, 0, true);
  drop(transfer);
}

bool Engine::is_open_to_peers(const LocalEndpoint& local) const {
  return std::any_of(transfers_.begin(), transfers_.end(), [&](const auto& transfer) {
    return transfer->owner == &local && transfer->is_open_to_peer();
  });
}

void Engine::on_copy_end(Channel& channel, const wire::Header& header) {
  for (auto& transfer : transfers_) {
    if (transfer->channel == &channel && transfer->token == header.call) drop(*transfer);
  }
  if (!pushes_.empty()) cancel_pushes(channel, header.call);
}

void Engine::drop(Transfer& transfer) {
  if (transfer.orphan) --transfer.channel->orphans;
  transfer.channel = nullptr;
  transfer.exposure.reset();
}

/// The peer has begun a new session, or has ended: it touches nothing any more by itself.
void Engine::drop_transfers(Channel& channel) {
  if (!pushes_.empty()) cancel_pushes(channel);
  for (auto& transfer : transfers_) {
    if (transfer->channel == &channel) drop(*transfer);
  }
}

/// The session is over: the requester starts its copies again in the next one. Until then it may be
/// in the middle of touching the memory, unless it can be shut out. (Not if it is this very
/// engine.)
void Engine::suspend_transfers(Channel& channel) {
  if (!pushes_.empty()) cancel_pushes(channel);
  for (auto& transfer : transfers_) {
    if (transfer->channel != &channel || transfer->orphan) continue;
    if (transfer->exposure != nullptr && !channel.mirror && !transfer->exposure->close()) {
      transfer->orphan = true;
      ++channel.orphans;
      transfer->cut_at = Clock::now() + kShutAgain;
      set_timer(channel, transfer->cut_at);
    } else {
      drop(*transfer);
    }
  }
}

void Engine::advance_transfer(Transfer& transfer) {
  const bool overdue =
      transfer.cut_at != Clock::time_point::max() && transfer.cut_at <= Clock::now();
  if (transfer.channel == nullptr) {
    if (!overdue || transfer.in_flight == 0) return;
    // A frame that does not get through keeps the memory in use for as long as its connection is.
    transfer.cut_at = Clock::time_point::max();
    if (connections_.contains(transfer.connection))
      transfer.connection->close(Error{Errc::connection_lost, "a streamed copy was cut", {}});
    return;
  }
  Channel& channel = *transfer.channel;
  if (transfer.lease && overdue) return cut_lease(transfer);
  if (!transfer.ready) return begin_transfer(transfer);
  if (transfer.lease || transfer.to_owner) return;
  while (transfer.progress < transfer.length && transfer.in_flight < kCopyFrames) {
    const std::uint64_t size =
        std::min<std::uint64_t>(kCopyChunk, transfer.length - transfer.progress);
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

}  // namespace godwit
