#ifdef GODWIT_HAVE_VERBS

#include "fabric/hostile/verbs_raw_peer.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <cstring>

namespace godwit::fabric::testing {

using namespace std::chrono_literals;
using verbs::Device;
using verbs::Introduction;
using verbs::Link;

bool send_raw(Device& device, Link& link, std::string_view bytes) {
  const std::uint32_t slot = device.take_slot();
  if (slot == Device::kNone || !link.room()) return false;
  bytes = bytes.substr(0, verbs::kSlotBytes);
  std::memcpy(device.slot(slot), bytes.data(), bytes.size());
  std::array<ibv_sge, 1> pieces{};
  pieces[0] = {reinterpret_cast<std::uint64_t>(device.slot(slot)),
               static_cast<std::uint32_t>(bytes.size()), device.slot_key()};
  return link.send(pieces, false, slot, true);
}

std::string verbs_message(verbs::Kind kind, std::string_view body, std::uint32_t length) {
  FrameHeader header;
  header.length = length;
  header.fabric = verbs::pack(verbs::Control{kind, 0, 0});
  return std::string(reinterpret_cast<const char*>(&header), sizeof header) +
         std::string(body.substr(0, kSmallPayload));
}

VerbsRawPeer::VerbsRawPeer(EngineAddress target, std::function<void()> step)
    : target_(std::move(target)), step_(std::move(step)), arena_(*Arena::create(32 << 20)) {
  channel_.reset(rdma_create_event_channel());
  EXPECT_EQ(fcntl(channel_->fd, F_SETFL, O_NONBLOCK), 0);
}

bool VerbsRawPeer::dial(std::string_view introduction) {
  link_.reset();
  rdma_cm_id* id = nullptr;
  if (rdma_create_id(channel_.get(), &id, nullptr, RDMA_PS_TCP) != 0) return false;
  verbs::Handle<rdma_cm_id> owner(id);
  auto to = verbs::CmAddress::parse(target_.verbs.front());
  if (rdma_resolve_addr(id, nullptr, to->get(), 2000) != 0) return false;
  if (next_event() != RDMA_CM_EVENT_ADDR_RESOLVED) return false;
  if (rdma_resolve_route(id, 2000) != 0) return false;
  if (next_event() != RDMA_CM_EVENT_ROUTE_RESOLVED) return false;
  if (device_ == nullptr) device_ = *Device::open(id->verbs->device, options_, *arena_);
  link_ = std::make_unique<Link>(*device_, options_, std::move(owner));
  link_->window = *device_->take_window();
  return link_->make_pair() && link_->connect(introduction.substr(0, 56)) &&
         next_event() == RDMA_CM_EVENT_CONNECT_RESPONSE && link_->activate() && link_->establish();
}

int VerbsRawPeer::next_event() {
  const auto end = std::chrono::steady_clock::now() + 10s;
  rdma_cm_event* event = nullptr;
  while (rdma_get_cm_event(channel_.get(), &event) != 0) {
    if (std::chrono::steady_clock::now() > end) return -1;
    step_();
  }
  const int type = event->event;
  if (type == RDMA_CM_EVENT_CONNECT_RESPONSE) {
    const auto peer =
        Introduction::decode({static_cast<const char*>(event->param.conn.private_data),
                              event->param.conn.private_data_len});
    told_ = peer ? peer->link : 0;
  }
  rdma_ack_cm_event(event);
  return type;
}

}  // namespace godwit::fabric::testing

#endif
