#include "godwit/fabric/inventory.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/resource.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <system_error>

#include "inventory_verbs.h"
#include "ucx/ucx_transport.h"
#include "verbs/verbs_transport.h"

namespace godwit::fabric {

namespace {

namespace fs = std::filesystem;

/// The first line of a file; empty if it cannot be read, as gid_attrs of an unused entry.
std::string first_line(const fs::path& path) {
  std::string line;
  std::ifstream file(path);
  std::getline(file, line);
  return line;
}

std::uint32_t number_of(const std::string& text) {
  std::uint32_t number = 0;
  std::from_chars(text.data(), text.data() + text.size(), number);
  return number;
}

std::vector<fs::path> entries(const fs::path& folder) {
  std::vector<fs::path> found;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) found.push_back(entry.path());
  std::sort(found.begin(), found.end());
  return found;
}

RdmaPort read_port(const fs::path& folder) {
  RdmaPort port;
  port.number = number_of(folder.filename().string());
  // "4: ACTIVE"
  const std::string state = first_line(folder / "state");
  const std::size_t colon = state.find(": ");
  port.state = colon == std::string::npos ? state : state.substr(colon + 2);
  port.link_layer = first_line(folder / "link_layer");
  for (const fs::path& entry : entries(folder / "gids")) {
    RdmaGid gid;
    gid.gid = first_line(entry);
    if (gid.gid.find_first_not_of("0:") == std::string::npos) continue;  // not in use
    const std::string index = entry.filename().string();
    gid.index = number_of(index);
    gid.type = first_line(folder / "gid_attrs" / "types" / index);
    gid.interface = first_line(folder / "gid_attrs" / "ndevs" / index);
    port.gids.push_back(std::move(gid));
  }
  std::sort(port.gids.begin(), port.gids.end(),
            [](const RdmaGid& a, const RdmaGid& b) { return a.index < b.index; });
  return port;
}

std::vector<RdmaDevice> read_devices(const fs::path& sysfs) {
  std::vector<RdmaDevice> devices;
  for (const fs::path& folder : entries(sysfs / "class" / "infiniband")) {
    RdmaDevice device;
    device.name = folder.filename().string();
    for (const fs::path& port : entries(folder / "ports")) device.ports.push_back(read_port(port));
    devices.push_back(std::move(device));
  }
  return devices;
}

/// IPoIB interfaces stand below their device, RoCE's are named with the GIDs.
std::string device_behind(const std::string& interface, const std::vector<RdmaDevice>& devices,
                          const fs::path& sysfs) {
  for (const RdmaDevice& device : devices) {
    for (const RdmaPort& port : device.ports) {
      for (const RdmaGid& gid : port.gids) {
        if (gid.interface == interface) return device.name;
      }
    }
    std::error_code error;
    if (fs::exists(sysfs / "class/infiniband" / device.name / "device/net" / interface, error))
      return device.name;
  }
  return {};
}

std::string numeric(const sockaddr& address) {
  char text[INET6_ADDRSTRLEN];
  const void* bytes = nullptr;
  if (address.sa_family == AF_INET) {
    bytes = &reinterpret_cast<const sockaddr_in&>(address).sin_addr;
  } else if (address.sa_family == AF_INET6) {
    const auto& v6 = reinterpret_cast<const sockaddr_in6&>(address).sin6_addr;
    if (IN6_IS_ADDR_LINKLOCAL(&v6)) return {};  // of no use without its interface
    bytes = &v6;
  }
  if (bytes == nullptr || inet_ntop(address.sa_family, bytes, text, sizeof text) == nullptr)
    return {};
  return text;
}

std::vector<NetworkInterface> read_interfaces() {
  std::vector<NetworkInterface> found;
  ifaddrs* list = nullptr;
  if (getifaddrs(&list) != 0) return found;
  for (const ifaddrs* item = list; item != nullptr; item = item->ifa_next) {
    auto known = std::find_if(found.begin(), found.end(), [&](const NetworkInterface& each) {
      return each.name == item->ifa_name;
    });
    if (known == found.end()) {
      NetworkInterface added;
      added.name = item->ifa_name;
      added.up = (item->ifa_flags & IFF_UP) != 0 && (item->ifa_flags & IFF_RUNNING) != 0;
      known = found.insert(found.end(), std::move(added));
    }
    if (item->ifa_addr == nullptr) continue;
    std::string address = numeric(*item->ifa_addr);
    if (address.empty()) continue;
    const bool v4 = item->ifa_addr->sa_family == AF_INET;
    known->addresses.insert(v4 ? std::find_if(known->addresses.begin(), known->addresses.end(),
                                              [](const std::string& each) {
                                                return each.find(':') != std::string::npos;
                                              })
                               : known->addresses.end(),
                            std::move(address));
  }
  freeifaddrs(list);
  return found;
}

}  // namespace

Inventory take_inventory(const std::string& sysfs) {
  Inventory inventory;
  inventory.built_with_verbs = verbs_available();
  inventory.built_with_ucx = ucx_available();
  inventory.devices = read_devices(sysfs);
  complete_with_verbs(inventory.devices);
  inventory.interfaces = read_interfaces();
  for (NetworkInterface& interface : inventory.interfaces) {
    interface.mtu = number_of(first_line(fs::path(sysfs) / "class/net" / interface.name / "mtu"));
    interface.rdma_device = device_behind(interface.name, inventory.devices, sysfs);
  }
  rlimit limit{};
  if (::getrlimit(RLIMIT_MEMLOCK, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY)
    inventory.locked_memory = limit.rlim_cur;
  return inventory;
}

}  // namespace godwit::fabric
