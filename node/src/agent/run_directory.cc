#include "agent/run_directory.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <utility>

#include "godwit/agent_link.h"

namespace godwit::node {

namespace {

std::string holder_of(int lock_fd) {
  std::array<char, 32> text{};
  const ssize_t got = ::pread(lock_fd, text.data(), text.size() - 1, 0);
  if (got <= 0) return "another agent";
  std::string pid(text.data(), static_cast<std::size_t>(got));
  while (!pid.empty() && pid.back() == '\n') pid.pop_back();
  return "another agent (pid " + pid + ")";
}

}  // namespace

Result<void> make_private_directory(const std::string& path) {
  std::error_code error;
  const auto parent = std::filesystem::path(path).parent_path();
  if (!parent.empty()) std::filesystem::create_directories(parent, error);
  if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) {
    return fail_errno("cannot make the folder " + path);
  }
  return {};
}

Result<RunDirectory> RunDirectory::open(const std::string& path) {
  if (agent_socket_path(path).size() >= sizeof(sockaddr_un::sun_path)) {
    return fail(
        Errc::invalid_argument,
        "the run directory " + path + " is too long for the path of a Unix socket (107 bytes)");
  }
  if (auto made = make_private_directory(path); !made) {
    return tl::make_unexpected(std::move(made.error()));
  }
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) return fail_errno("cannot look at " + path);
  if (!S_ISDIR(status.st_mode)) {
    return fail(Errc::invalid_argument, "the run directory " + path + " is not a folder");
  }
  if (status.st_uid != ::geteuid()) {
    return fail(Errc::permission_denied,
                "the run directory " + path + " belongs to another user: give each its own");
  }
  if ((status.st_mode & 0007) != 0) {
    return fail(Errc::invalid_argument,
                "the run directory " + path +
                    " can be reached by every user of this machine: chmod o= " + path);
  }
  const std::string lock_path = path + "/agent.lock";
  const int lock_fd = ::open(lock_path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (lock_fd < 0) return fail_errno("cannot open " + lock_path);
  RunDirectory directory(path, lock_fd, (status.st_mode & 0070) != 0);
  if (::flock(lock_fd, LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return fail_errno("cannot lock " + lock_path);
    return fail(Errc::name_taken, holder_of(lock_fd) + " runs in " + path +
                                      ": stop it, or give this one its own folder with --run");
  }
  const std::string pid = std::to_string(::getpid()) + "\n";
  if (::ftruncate(lock_fd, 0) != 0 ||
      ::pwrite(lock_fd, pid.data(), pid.size(), 0) != static_cast<ssize_t>(pid.size())) {
    return fail_errno("cannot write " + lock_path);
  }
  for (const char* folder : {"/engines", "/counters"}) {
    if (auto made = make_private_directory(path + folder); !made) {
      return tl::make_unexpected(std::move(made.error()));
    }
  }
  return directory;
}

RunDirectory::RunDirectory(RunDirectory&& other) noexcept
    : path_(std::move(other.path_)),
      lock_fd_(std::exchange(other.lock_fd_, -1)),
      shared_with_group_(other.shared_with_group_) {}

RunDirectory::~RunDirectory() {
  if (lock_fd_ >= 0) ::close(lock_fd_);
}

std::uint64_t RunDirectory::former_incarnation() const {
  std::ifstream file(path_ + "/incarnation");
  std::uint64_t incarnation = 0;
  return file >> incarnation ? incarnation : 0;
}

Result<void> RunDirectory::set_incarnation(std::uint64_t incarnation) {
  // Renamed into place: an agent killed half-way leaves the old one or the new one.
  const std::string path = path_ + "/incarnation", fresh = path + ".new";
  {
    std::ofstream file(fresh, std::ios::trunc);
    file << incarnation << '\n';
    if (!file.flush()) return fail_errno("cannot write " + fresh);
  }
  if (::rename(fresh.c_str(), path.c_str()) != 0) return fail_errno("cannot rename " + fresh);
  return {};
}

void RunDirectory::remove_files_of(std::uint64_t process) const {
  const std::string stem = process_file_stem(process);
  for (const char* folder : {"", "/engines", "/counters"}) {
    std::error_code error;
    std::filesystem::directory_iterator entries(path_ + folder, error);
    for (; !error && entries != std::filesystem::directory_iterator(); entries.increment(error)) {
      std::error_code ignored;  // Gone already, or not ours to remove: nothing depends on it.
      if (entries->path().filename().string().starts_with(stem)) {
        std::filesystem::remove(entries->path(), ignored);
      }
    }
  }
}

}  // namespace godwit::node
