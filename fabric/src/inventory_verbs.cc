#include "inventory_verbs.h"

#ifdef GODWIT_HAVE_VERBS
#include <infiniband/verbs.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <string_view>
#endif

namespace godwit::fabric {

#ifdef GODWIT_HAVE_VERBS

namespace {

struct CloseDevice {
  void operator()(ibv_context* context) const noexcept {
    (void)ibv_close_device(context);  // opened for questions only: nothing hangs on it
  }
};

void ask(ibv_device* handle, RdmaDevice& device) {
  const std::unique_ptr<ibv_context, CloseDevice> context(ibv_open_device(handle));
  if (context == nullptr) {
    device.problem = std::string("it cannot be opened: ") + std::strerror(errno) +
                     "; may this user read and write /dev/infiniband/uverbs*?";
    return;
  }
  for (RdmaPort& port : device.ports) {
    ibv_port_attr attributes{};
    if (ibv_query_port(context.get(), static_cast<std::uint8_t>(port.number), &attributes) == 0)
      port.mtu = 128U << attributes.active_mtu;  // IBV_MTU_256 is 1
  }
}

}  // namespace

void complete_with_verbs(std::vector<RdmaDevice>& devices) {
  if (devices.empty()) return;
  int count = 0;
  ibv_device** list = ibv_get_device_list(&count);
  for (RdmaDevice& device : devices) {
    ibv_device* handle = nullptr;
    for (int i = 0; list != nullptr && i < count; ++i) {
      if (ibv_get_device_name(list[i]) == std::string_view(device.name)) handle = list[i];
    }
    if (handle != nullptr) {
      ask(handle, device);
    } else {
      device.problem =
          "rdma-core does not list it: install its provider (Debian: ibverbs-providers) and load "
          "the kernel module ib_uverbs";
    }
  }
  if (list != nullptr) ibv_free_device_list(list);
}

#else

void complete_with_verbs(std::vector<RdmaDevice>& devices) {
  for (RdmaDevice& device : devices) device.problem = "this build has no rdma-core to open it with";
}

#endif

}  // namespace godwit::fabric
