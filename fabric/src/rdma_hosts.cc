#include "godwit/fabric/rdma_hosts.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <unistd.h>

#include <filesystem>
#include <functional>
#include <map>
#include <memory>

namespace godwit::fabric {

namespace {

namespace fs = std::filesystem;

using Ports = std::map<std::string, std::string>;  // by interface: "rxe0:1"

struct CloseFolder {
  void operator()(DIR* folder) const noexcept { ::closedir(folder); }
};

/// Calls back with the first line of each file in a folder that can be read. A port has up to
/// thousands of GIDs, most of them unused and unreadable, and engines ask as they start: so no
/// stream, and no path to walk for each.
void for_each_line(const fs::path& path, const std::function<void(std::string)>& use) {
  const std::unique_ptr<DIR, CloseFolder> folder(::opendir(path.c_str()));
  if (folder == nullptr) return;
  while (const dirent* entry = ::readdir(folder.get())) {
    if (entry->d_name[0] == '.') continue;
    const int file = ::openat(::dirfd(folder.get()), entry->d_name, O_RDONLY | O_CLOEXEC);
    if (file < 0) continue;
    char text[64];
    const ssize_t size = ::read(file, text, sizeof text);
    ::close(file);
    if (size <= 0) continue;
    std::string line(text, static_cast<std::size_t>(size));
    use(line.substr(0, line.find('\n')));
  }
}

// RoCE names its interface with each GID; InfiniBand's IPoIB interfaces stand below their device,
// which does not say with which of its ports.
Ports ports_by_interface() {
  Ports found;
  std::error_code error;
  for (const auto& device : fs::directory_iterator("/sys/class/infiniband", error)) {
    const std::string name = device.path().filename().string();
    std::string first;
    for (const auto& port : fs::directory_iterator(device.path() / "ports", error)) {
      const std::string number = port.path().filename().string();
      if (first.empty() || number < first) first = number;
      for_each_line(port.path() / "gid_attrs" / "ndevs", [&](std::string interface) {
        if (!interface.empty()) found.emplace(std::move(interface), name + ":" + number);
      });
    }
    for (const auto& below : fs::directory_iterator(device.path() / "device" / "net", error))
      found.emplace(below.path().filename().string(), name + ":" + first);
  }
  return found;
}

/// Calls back with each numeric address of those interfaces and the port behind it.
void for_each_address(const std::function<void(const char* host, const std::string& port)>& use) {
  ifaddrs* list = nullptr;
  const Ports ports = ports_by_interface();
  if (ports.empty() || getifaddrs(&list) != 0) return;
  for (const ifaddrs* item = list; item != nullptr; item = item->ifa_next) {
    const auto port = ports.find(item->ifa_name);
    if (item->ifa_addr == nullptr || port == ports.end()) continue;
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
      use(text, port->second);
  }
  freeifaddrs(list);
}

}  // namespace

std::vector<std::string> rdma_hosts() {
  std::vector<std::string> hosts;
  for_each_address([&](const char* host, const std::string&) { hosts.emplace_back(host); });
  return hosts;
}

std::string rdma_port_of(const std::string& host) {
  std::string found;
  for_each_address([&](const char* address, const std::string& port) {
    if (host == address) found = port;
  });
  return found;
}

}  // namespace godwit::fabric
