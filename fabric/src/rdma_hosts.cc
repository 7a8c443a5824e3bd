#include "godwit/fabric/rdma_hosts.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <netinet/in.h>

#include <filesystem>
#include <fstream>
#include <set>

namespace godwit::fabric {

namespace {

namespace fs = std::filesystem;

void add_names(const fs::path& folder, std::set<std::string>& names, bool contents) {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    std::string name = entry.path().filename().string();
    if (contents) {
      name.clear();
      std::ifstream(entry.path()) >> name;
    }
    if (!name.empty()) names.insert(name);
  }
}

// RoCE names its interface with each GID; InfiniBand's IPoIB interfaces stand below its device.
std::set<std::string> interfaces() {
  std::set<std::string> names;
  std::error_code error;
  for (const auto& device : fs::directory_iterator("/sys/class/infiniband", error)) {
    for (const auto& port : fs::directory_iterator(device.path() / "ports", error))
      add_names(port.path() / "gid_attrs" / "ndevs", names, true);
    add_names(device.path() / "device" / "net", names, false);
  }
  return names;
}

}  // namespace

std::vector<std::string> rdma_hosts() {
  std::vector<std::string> hosts;
  const std::set<std::string> names = interfaces();
  ifaddrs* list = nullptr;
  if (names.empty() || getifaddrs(&list) != 0) return hosts;
  for (const ifaddrs* item = list; item != nullptr; item = item->ifa_next) {
    if (item->ifa_addr == nullptr || names.count(item->ifa_name) == 0) continue;
    const int family = item->ifa_addr->sa_family;
    const void* bytes = nullptr;
    if (family == AF_INET) {
      bytes = &reinterpret_cast<const sockaddr_in*>(item->ifa_addr)->sin_addr;
    } else if (family == AF_INET6) {
      const auto& address = reinterpret_cast<const sockaddr_in6*>(item->ifa_addr)->sin6_addr;
      if (IN6_IS_ADDR_LINKLOCAL(&address)) continue;  // of no use without its interface
      bytes = &address;
    }
    char text[INET6_ADDRSTRLEN];
    if (bytes != nullptr && inet_ntop(family, bytes, text, sizeof text) != nullptr)
      hosts.emplace_back(text);
  }
  freeifaddrs(list);
  return hosts;
}

}  // namespace godwit::fabric
