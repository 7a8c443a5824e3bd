// VerbsTransport: its device, from opening it to losing it and having it back.
#ifdef GODWIT_HAVE_VERBS

#include <arpa/inet.h>

#include <cerrno>
#include <string>
#include <utility>

#include "godwit/fabric/rdma_hosts.h"
#include "verbs/verbs_transport_impl.h"

namespace godwit::fabric::verbs {

namespace {

constexpr int kBacklog = 128;

std::string elsewhere() {
  std::string hosts;
  for (const std::string& host : rdma_hosts()) hosts += (hosts.empty() ? "" : ", ") + host;
  return hosts.empty() ? "this machine has none" : "RDMA devices are at " + hosts;
}

}  // namespace

Result<void> VerbsTransport::open_device(std::uint16_t port) {
  auto address = CmAddress::parse({host(), port});
  if (!address) return tl::make_unexpected(address.error());
  auto id = make_id();
  if (!id) return tl::make_unexpected(id.error());
  if (rdma_bind_addr(id->get(), address->get()) != 0 || (*id)->verbs == nullptr) {
    return fail(Errc::not_supported,
                host() + " is the address of no RDMA device: " + elsewhere() +
                    " (the address that the engine listens on chooses the device)");
  }
  auto device = Device::open((*id)->verbs->device, options_, context_.arena);
  if (!device) return tl::make_unexpected(device.error());
  if (rdma_listen(id->get(), kBacklog) != 0)
    return tl::make_unexpected(verbs_error(Errc::system, "cannot listen at " + host(), errno));
  if (auto done = context_.poller.add((*device)->channel()->fd, EPOLLIN, completion_watch_); !done)
    return done;
  if (auto done = context_.poller.add((*device)->context()->async_fd, EPOLLIN, device_watch_);
      !done) {
    context_.poller.remove((*device)->channel()->fd, completion_watch_);
    return done;
  }
  cm_context_ = std::make_unique<CmContextUse>((*id)->verbs);
  port_ = ntohs(rdma_get_src_port(id->get()));
  device_ = std::move(*device);
  listener_ = std::move(*id);
  device_lost_ = device_removed_ = false;
  revive_at_ = Clock::time_point::max();
  return {};
}

void VerbsTransport::on_device_events() {
  ibv_async_event event{};
  while (device_ != nullptr && ibv_get_async_event(device_->context(), &event) == 0) {
    const ibv_event_type type = event.event_type;
    Link* link = nullptr;
    if (type == IBV_EVENT_QP_FATAL || type == IBV_EVENT_QP_REQ_ERR ||
        type == IBV_EVENT_QP_ACCESS_ERR)
      link = link_of_pair(event.element.qp->qp_num);
    ibv_ack_async_event(&event);
    switch (type) {
      case IBV_EVENT_QP_FATAL:
      case IBV_EVENT_QP_REQ_ERR:
      case IBV_EVENT_QP_ACCESS_ERR:
        if (link != nullptr)
          on_peer_gone(*link, {Errc::connection_lost, "the queue pair has failed", {}});
        break;
      case IBV_EVENT_DEVICE_FATAL:
        lose_device("it has failed", false);
        break;
      case IBV_EVENT_CQ_ERR:
      case IBV_EVENT_SRQ_ERR:
        lose_device("a queue of it has failed", false);
        break;
      case IBV_EVENT_PORT_ERR:
        // The port may be back before anybody noticed; whatever is sent meanwhile is repeated by
        // the device, and told as an error when that was in vain. But a way that is known to be
        // down is left at once: there may be another.
        links_.for_each([](Link& each) {
          if (each.owner != nullptr)
            each.owner->on_lost({Errc::connection_lost, "the RDMA port is down", {}});
        });
        break;
      default:
        break;
    }
  }
}

void VerbsTransport::lose_device(const char* why, bool removed) {
  device_removed_ = device_removed_ || removed;
  if (device_ == nullptr || std::exchange(device_lost_, true)) return;
  const Error reason{Errc::connection_lost, std::string("the RDMA device is lost: ") + why, {}};
  links_.for_each([&](Link& link) {
    if (link.owner != nullptr) link.owner->on_lost(reason);
  });
  attention_ = true;
}

// Everything that refers to the device. A driver that waits for its users is free afterwards.
void VerbsTransport::close_device() {
  if (device_ == nullptr) return;
  listener_.reset();
  context_.poller.remove(device_->context()->async_fd, device_watch_);
  context_.poller.remove(device_->channel()->fd, completion_watch_);
  device_.reset();
  if (device_removed_) cm_context_->removed();
  cm_context_.reset();
  revive_at_ = Clock::now() + options_.revive_interval;
}

void VerbsTransport::revive() {
  if (port_ == 0) return;  // it never listened
  const auto now = Clock::now();
  if (now < revive_at_) return;
  revive_at_ = now + options_.revive_interval;
  if (rdma_hosts().empty()) return;
  (void)open_device(port_);  // the next attempt follows
}

}  // namespace godwit::fabric::verbs

#endif
