// Where agent and processes of a node meet on the file system. See agent_link.h.
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "godwit/agent_link.h"

namespace godwit {

namespace {
constexpr const char* kSystemRun = "/run/godwit";

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::string() : std::string(value);
}

// Root may make the folder, everybody else only uses one that was made for them.
bool system_run_usable() {
  if (::access(kSystemRun, W_OK | X_OK) == 0) return true;
  return ::access(kSystemRun, F_OK) != 0 && ::access("/run", W_OK | X_OK) == 0;
}
}  // namespace

std::string default_runtime_directory() {
  if (std::string run = environment("GODWIT_RUN"); !run.empty()) return run;
  if (system_run_usable()) return kSystemRun;
  if (const std::string xdg = environment("XDG_RUNTIME_DIR"); !xdg.empty()) return xdg + "/godwit";
  return "/tmp/godwit-" + std::to_string(::geteuid());
}

std::string agent_socket_path(std::string_view runtime_directory) {
  return std::string(runtime_directory) + "/agent.sock";
}

std::string process_file_stem(std::uint64_t process) {
  char text[17];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(process));
  return text;
}

}  // namespace godwit
