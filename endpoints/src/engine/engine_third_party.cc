// Engine: copies between two other endpoints, at all three of them.
//
// Whoever asks has a grant made for the one endpoint by the other, of the range alone (delegate),
// and has it copied by that one (push). Then it gives the grant back.
#include <algorithm>

#include <sodium.h>

#include "engine/engine.h"

namespace godwit {

// --- who asks ----------------------------------------------------------------------------------

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
  std::uint64_t key = 0;
  while (key == 0) randombytes_buf(&key, sizeof key);
  delegate.to_owner = true;
  delegate.request.operation = wire::CopyOperation::delegate;
  delegate.request.key = to.key;
  delegate.request.offset = to_offset;
  delegate.request.length = length;
  delegate.request.third = from.owner;
  delegate.request.third_key = key;
  start_copy(*find(*target), delegate);
  auto done = run_copy(delegate, absolute);
  // Also after a failure: it may have been made, and the answer lost.
  if (done) done = push(*source, from, from_offset, to.owner, delegate.value, length, absolute);
  give_back(*target, key);
  return done;
}

/// Has the range copied by its owner into a grant of another endpoint.
Result<void> Engine::push(const Remote& source, const GrantRef& from, std::uint64_t from_offset,
                          EndpointId target, std::uint64_t key, std::uint64_t length,
                          const Wait& wait) {
  Copy push;
  push.request.operation = wire::CopyOperation::push;
  push.request.key = from.key;
  push.request.offset = from_offset;
  push.request.length = length;
  push.request.third = target;
  push.request.third_key = key;
  Channel* channel = find(source);
  if (channel == nullptr) return fail(Errc::endpoint_died, {}, from.owner.to_string());
  start_copy(*channel, push);
  return run_copy(push, wait);
}

/// Tells the owner that the grant which it made for a third party is not needed any more.
void Engine::give_back(const Remote& owner, std::uint64_t key) {
  Channel* channel = find(owner);
  if (channel == nullptr || channel->dead) return;  // it knows that we have ended
  auto& errand = errands_.emplace_back(std::make_unique<Copy>());
  errand->request.operation = wire::CopyOperation::give_back;
  errand->request.key = key;
  start_copy(*channel, *errand);
}

// --- the owner of the target -------------------------------------------------------------------

/// Makes a grant of the range alone, for the third party alone. The asker chose its key, so it can
/// ask twice, and give back what it was not told of.
void Engine::delegate(Channel& channel, std::uint32_t token, const Grant& from, Rights rights,
                      const wire::CopyRequest& request) {
  auto made = std::make_shared<Grant>();
  made->length = request.length;
  made->rights = rights;
  made->peer = request.third;
  made->part = {request.key, request.offset, channel.remote};
  if (from.part)
    made->part = {from.part->whole, from.part->offset + request.offset, channel.remote};
  std::uint64_t key = request.third_key;
  if (key == 0) randombytes_buf(&key, sizeof key);  // of a peer that leaves it to us
  const auto [entry, is_new] = channel.local->grants.try_emplace(key, made);
  const bool again = !is_new && entry->second->part && entry->second->part->asker == channel.remote;
  if (!is_new && !again) return answer_copy(channel, token, Errc::permission_denied, 0, true);
  answer_copy(channel, token, Errc{}, key, true);
}

/// The peer has ended: so have the grants that were made for its copies.
void Engine::end_parts(Channel& channel) {
  std::erase_if(channel.local->grants, [&](const auto& entry) {
    return entry.second->part && entry.second->part->asker == channel.remote;
  });
}

/// The grant whose memory a grant means, and the place in it; null if that is not there (any more).
std::shared_ptr<Grant> Engine::memory_of(const LocalEndpoint& local,
                                         const std::shared_ptr<Grant>& grant, std::uint64_t& offset,
                                         std::uint64_t length) const {
  std::shared_ptr<Grant> whole = grant;
  if (grant->part) {
    const auto known = local.grants.find(grant->part->whole);
    if (known == local.grants.end() || known->second->revoked) return nullptr;
    whole = known->second;
    offset += grant->part->offset;
  }
  const bool there = whole->memory != nullptr && within(offset, length, whole->length);
  return there ? whole : nullptr;
}

// --- the owner of the source -------------------------------------------------------------------

/// Copies a granted range of ours into a grant elsewhere, on behalf of the channel's peer.
void Engine::start_push(Channel& channel, std::uint32_t token, const std::shared_ptr<Grant>& grant,
                        std::uint64_t offset, const wire::CopyRequest& request) {
  auto push = std::make_shared<Push>();
  pushes_.push_back(push);
  push->grant = grant;
  push->owner = channel.local;
  push->channel = channel.index;
  push->serial = channel.serial;
  push->token = token;
  ++grant->users;
  Copy& copy = push->copy;
  copy.memory = {grant->memory + offset, request.length};
  copy.to_owner = true;
  copy.request.key = request.third_key;
  copy.request.offset = request.third_offset;
  copy.request.length = request.length;
  copy.on_done = [this, token, index = channel.index, serial = channel.serial](Copy& done) {
    Channel* requester = find(index, serial);
    if (requester != nullptr && !requester->dead && requester->core.attached()) {
      answer_copy(*requester, token, *done.result ? Errc{} : done.result->error().code, 0, true);
    }
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
          if (push->copy.result) return;  // it was cancelled meanwhile
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

/// Whoever asked wants it no more, or asks again in its next session.
void Engine::cancel_pushes(const Channel& channel, std::optional<std::uint32_t> token) {
  for (const auto& push : std::vector<std::shared_ptr<Push>>(pushes_)) {
    const bool asked = push->channel == channel.index && push->serial == channel.serial;
    if (asked && push->token == token.value_or(push->token))
      finish_copy(push->copy, fail(Errc::cancelled));
  }
}

}  // namespace godwit
