// Engine: the frames of copies, at both ends: their bytes where they are streamed, and what is said
// of them.
#include <algorithm>
#include <cstring>

#include "engine/engine.h"

namespace godwit {

namespace {

void count_down(void* context, std::uint64_t) noexcept {
  --*static_cast<std::uint32_t*>(context);
}

/// The 64-bit offset of a copy_data frame lies where other frames carry acknowledgements.
std::uint64_t offset_of(const wire::Header& header) noexcept {
  return header.ack_messages | std::uint64_t{header.ack_replies} << 32;
}

}  // namespace

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
Engine::CopyPlace Engine::copy_place(Channel& channel, const wire::Header& header,
                                     std::uint32_t length) {
  const std::uint64_t offset = offset_of(header);
  if ((header.flags & wire::kToOwner) != 0) {
    for (const auto& transfer : transfers_) {
      if (transfer->channel != &channel || transfer->token != header.call || !transfer->to_owner ||
          transfer->lease || !within(offset, length, transfer->length)) {
        continue;
      }
      return {transfer->memory + offset, &transfer->in_flight};
    }
    return {};
  }
  for (Copy* copy : copies_) {
    // The owner counts from where this session's request began.
    if (copy->channel != &channel || copy->token != header.call || copy->to_owner ||
        !within(copy->base + offset, length, copy->memory.size())) {
      continue;
    }
    return {copy->memory.data() + copy->base + offset, &copy->in_flight};
  }
  return {};
}

/// The memory of a copy, for a transport to put a frame's bytes there. Whatever becomes of the copy
/// meanwhile, the memory is in use until the transport has let go of it.
fabric::Buffer Engine::place_data(fabric::Connection& connection, const wire::Header& header,
                                  std::uint32_t length) {
  Channel* channel = named_by(header.channel);
  if (channel == nullptr || channel->connection != &connection || channel->dead) return {};
  const CopyPlace place = copy_place(*channel, header, length);
  if (place.at == nullptr) return {};
  ++*place.in_flight;
  return fabric::Buffer(place.at, length, &count_down, place.in_flight);
}

/// Frames of the channel that are half-way into memory over a connection that it has left: they end
/// with that. (Over its present one they come before whatever is asked for now.)
void Engine::leave_behind(fabric::Connection* connection, const Channel& channel) {
  if (connection == channel.connection || !connections_.contains(connection)) return;
  connection->close(Error{Errc::connection_lost, "its copies go on elsewhere", {}});
}

void Engine::on_copy_data(Channel& channel, const fabric::FrameHeader& frame,
                          const wire::Header& header, std::span<const std::byte> payload) {
  if (payload.size() != frame.length) return;  // no copy wanted it any more
  std::byte* destination = copy_place(channel, header, frame.length).at;
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

void Engine::stream_copy(Copy& copy) {
  const std::span<std::byte> left = copy.memory.subspan(copy.base);
  while (copy.streamed < left.size() && copy.in_flight < kCopyFrames) {
    const std::uint64_t size = std::min<std::uint64_t>(kCopyChunk, left.size() - copy.streamed);
    if (!post_data(*copy.channel, copy.token, copy.streamed, left.subspan(copy.streamed, size),
                   wire::kToOwner, &copy.in_flight)) {
      return;
    }
    copy.streamed += size;
    counters_->bytes_copied.add(size);
  }
}

// --- what is said ------------------------------------------------------------------------------

/// None of it may be lost within a session, nor overtake another: what finds no room waits.
void Engine::say_of_copy(Channel& channel, wire::Type type, std::uint32_t token,
                         std::span<const std::byte> payload) {
  if (channel.connection == nullptr) return;
  wire::Header header;
  header.type = type;
  header.channel = channel.core.peer_index();
  header.call = token;
  if (!owes_words(channel) && post_control(*channel.connection, header, payload)) return;
  unsaid_.push_back({channel.index,
                     channel.serial,
                     channel.core.session(),
                     header,
                     {payload.begin(), payload.end()}});
}

bool Engine::owes_words(const Channel& channel) const {
  return std::any_of(unsaid_.begin(), unsaid_.end(), [&](const Unsaid& each) {
    return each.channel == channel.index && each.serial == channel.serial;
  });
}

void Engine::say_unsaid() {
  std::vector<const Channel*> full;
  std::erase_if(unsaid_, [&](const Unsaid& each) {
    Channel* channel = find(each.channel, each.serial);
    if (channel == nullptr || channel->connection == nullptr || !channel->core.attached() ||
        channel->core.session() != each.session)
      return true;
    if (std::find(full.begin(), full.end(), channel) == full.end() &&
        post_control(*channel->connection, each.header, each.payload))
      return true;
    full.push_back(channel);
    return false;
  });
}

}  // namespace godwit
