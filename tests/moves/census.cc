#include "census.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <iterator>

namespace moves {

namespace {

/// The words of a file of /proc that ends each with a NUL.
std::vector<std::string> words_of(const std::filesystem::path& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return {};
  std::string text;
  char buffer[4096];
  // An error is the end of the process.
  for (ssize_t got; (got = ::read(fd, buffer, sizeof buffer)) > 0;) {
    text.append(buffer, static_cast<std::size_t>(got));
  }
  ::close(fd);
  std::vector<std::string> words;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\0', at), text.size());
    words.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return words;
}

/// ".../north.run" -> "north"
std::string node_of(const std::filesystem::path& run_directory) {
  return run_directory.stem().string();
}

}  // namespace

std::vector<BankProcess> find_banks(const std::string& folder) {
  constexpr std::string_view kRun = "GODWIT_RUN=";
  std::vector<BankProcess> found;
  std::error_code error;
  std::filesystem::directory_iterator entries("/proc", error);
  for (; !error && entries != std::filesystem::directory_iterator(); entries.increment(error)) {
    const auto& entry = *entries;
    const pid_t pid = std::atoi(entry.path().filename().c_str());
    if (pid <= 0) continue;
    const auto command = words_of(entry.path() / "cmdline");
    const bool ours = std::find(command.begin(), command.end(), "bank") != command.end() &&
                      std::find(command.begin(), command.end(), folder) != command.end();
    if (!ours) continue;
    BankProcess bank{pid, {}};
    for (const std::string& variable : words_of(entry.path() / "environ")) {
      if (variable.starts_with(kRun)) bank.node = node_of(variable.substr(kRun.size()));
    }
    found.push_back(std::move(bank));
  }
  std::sort(found.begin(), found.end(),
            [](const BankProcess& a, const BankProcess& b) { return a.pid < b.pid; });
  return found;
}

std::size_t open_descriptors(pid_t pid) {
  std::error_code error;
  std::filesystem::directory_iterator entries("/proc/" + std::to_string(pid) + "/fd", error);
  std::size_t count = 0;
  for (; !error && entries != std::filesystem::directory_iterator(); entries.increment(error)) {
    ++count;
  }
  return count;
}

}  // namespace moves
