#include "leftovers.h"

#include <net/if.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <thread>

namespace {

namespace fs = std::filesystem;

bool is_namespace(const std::string& path, std::uint64_t inode) {
  struct stat status {};
  static const std::uint64_t device = [] {
    struct stat own {};
    ::stat("/proc/self/ns/net", &own);
    return own.st_dev;
  }();
  return ::stat(path.c_str(), &status) == 0 && status.st_dev == device && status.st_ino == inode;
}

}  // namespace

std::uint64_t inode_of(int fd) {
  struct stat status {};
  return ::fstat(fd, &status) == 0 ? status.st_ino : 0;
}

bool is_used(std::uint64_t network_namespace) {
  std::error_code error;  // a process may end while it is looked at
  for (const auto& process : fs::directory_iterator("/proc", error)) {
    const std::string path = process.path().string();
    if (path.find_first_not_of("0123456789", sizeof "/proc/" - 1) != std::string::npos) continue;
    if (is_namespace(path + "/ns/net", network_namespace)) return true;
    for (const auto& fd : fs::directory_iterator(path + "/fd", error)) {
      if (is_namespace(fd.path().string(), network_namespace)) return true;
    }
  }
  return false;
}

bool is_alive(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  std::string status;
  if (!std::getline(file, status)) return false;
  const auto name_end = status.rfind(") ");
  return name_end != std::string::npos && status[name_end + 2] != 'Z';
}

std::set<std::string> interfaces() {
  std::set<std::string> names;
  struct if_nameindex* all = ::if_nameindex();
  for (const auto* each = all; each != nullptr && each->if_name != nullptr; ++each) {
    names.insert(each->if_name);
  }
  ::if_freenameindex(all);
  return names;
}

bool eventually(const std::function<bool()>& holds, std::chrono::milliseconds limit) {
  const auto until = std::chrono::steady_clock::now() + limit;
  while (!holds()) {
    if (std::chrono::steady_clock::now() > until) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  return true;
}
