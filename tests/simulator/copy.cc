#include "copy.h"

#include <utility>

namespace godwit::simulator {

Copy::Copy(Surroundings& world, CopyId id, const Record& self, std::vector<Record> directory)
    : scheduled(directory.size()),
      world_(&world),
      id_(id),
      self_(self),
      directory_(std::move(directory)),
      channels_(directory_.size()) {}

Copy::Copy(const Copy& original, CopyId id)
    : scheduled(original.directory_.size()),
      world_(original.world_),
      id_(id),
      state_(State::parked),
      self_(original.self_),
      directory_(original.directory_),
      channels_(directory_.size()) {
  for (std::size_t peer = 0; peer < channels_.size(); ++peer) {
    if (!original.channels_[peer]) continue;
    channels_[peer] = std::make_unique<SimChannel>(*original.channels_[peer]);
    channels_[peer]->install(*this);
  }
}

SimChannel& Copy::open_channel(std::uint32_t peer) {
  if (!channels_[peer]) {
    const Record& record = directory_[peer];
    channels_[peer] = std::make_unique<SimChannel>(*this, self_.identity, record.identity,
                                                   self_.lineage, self_.epoch, world_->first());
    channels_[peer]->on_directory(record.lineage, record.epoch);
  }
  return *channels_[peer];
}

void Copy::become_live(std::uint32_t epoch) {
  state_ = State::live;
  self_.epoch = epoch;
  self_.place = id_;
}

void Copy::grant(std::uint32_t epoch) {
  become_live(epoch);
  for (const auto& channel : channels_) {
    if (channel) channel->on_granted(epoch);
  }
  if (has_work()) wake_application();
}

void Copy::resume(std::uint32_t epoch) {
  become_live(epoch);
  for (const auto& channel : channels_) {
    if (channel) channel->on_resumed(epoch);
  }
  if (has_work()) wake_application();
}

void Copy::replace(const Record& record) {
  std::unique_ptr<SimChannel>& channel = channels_[record.identity.endpoint];
  if (channel) channel->on_peer_died();
  channel.reset();
  directory_[record.identity.endpoint] = record;
}

void Copy::on_record(const Record& record) {
  Record& known = directory_[record.identity.endpoint];
  if (!record.newer_than(known)) return;
  if (record.identity != known.identity) return replace(record);
  known = record;
  if (SimChannel* channel = channels_[record.identity.endpoint].get()) {
    channel->on_directory(record.lineage, record.epoch);
  }
}

void Copy::on_frame(ConnectionId connection, const Frame& frame) {
  const Record& known = directory_[frame.source.endpoint];
  const bool attach = frame.type == FrameType::attach;
  if (frame.target != self_.identity || frame.source.generation < known.identity.generation) {
    if (!attach) return;
    Frame answer;
    answer.type = FrameType::gone;
    answer.source = self_.identity;
    answer.target = frame.source;
    return post(connection, answer);
  }
  if (frame.source.generation > known.identity.generation) {
    // Behind a shut gate nobody is told of a death: the endpoint learns it where it goes on.
    if (!attach || state_ != State::live) return;
    replace(
        {frame.source, frame.state.lineage, frame.state.epoch, world_->other_end(connection, id_)});
  }
  if (!channels_[frame.source.endpoint] && !attach) return;
  SimChannel& channel = open_channel(frame.source.endpoint);
  channel.on_frame(connection, frame);
  if (attach && channel.core().attached() && channel.connection() == connection) {
    const Record place{frame.source, frame.state.lineage, frame.state.epoch,
                       world_->other_end(connection, id_)};
    if (place.newer_than(directory_[frame.source.endpoint])) {
      directory_[frame.source.endpoint] = place;
    }
  }
}

bool Copy::has_work() const {
  for (const auto& channel : channels_) {
    if (channel && (channel->has_input() || channel->owes_replies())) return true;
  }
  return false;
}

bool Copy::run_application() {
  const auto count = static_cast<std::uint32_t>(channels_.size());
  const std::uint32_t start = random().below(count);
  for (std::uint32_t i = 0; i < count; ++i) {
    SimChannel* channel = channels_[(start + i) % count].get();
    if (channel == nullptr) continue;
    if (channel->owes_replies() && random().chance(50) && channel->reply(random().below(64))) break;
    if (channel->take(random().chance(40)) || channel->take(false)) break;
  }
  return has_work();
}

}  // namespace godwit::simulator
