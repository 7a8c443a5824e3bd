#include "godwit/migrate/fault_points.h"

#ifdef GODWIT_FAULT_POINTS

#include <unistd.h>

#include <cctype>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>
#include <thread>

namespace godwit::migrate {

namespace {

using namespace std::chrono_literals;

constexpr auto kHoldLimit = 60s;
constexpr auto kHoldPause = 2ms;

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::string() : std::string(value);
}

// Read once: what is asked for must not change within a process.
const std::string& folder() {
  static const std::string path = environment("GODWIT_FAULT_FOLDER");
  return path;
}

void hold(const std::string& path) {
  const auto limit = std::chrono::steady_clock::now() + kHoldLimit;
  const std::string go = path + ".go";
  while (::access(go.c_str(), F_OK) != 0 && std::chrono::steady_clock::now() < limit) {
    std::this_thread::sleep_for(kHoldPause);
  }
}

}  // namespace

void fault_point(std::string_view step, std::string_view what, std::string_view when) {
  if (folder().empty()) return;
  std::string name(step);
  for (const std::string_view part : {what, when}) {
    if (part.empty()) continue;
    name += '.';
    for (const char each : part) {
      name += static_cast<char>(std::tolower(static_cast<unsigned char>(each)));
    }
  }
  const std::string path = folder() + "/" + name;
  const std::string fired = path + ".fired";
  // The renaming is the claim: of several threads one gets it.
  if (::access(path.c_str(), F_OK) != 0 || std::rename(path.c_str(), fired.c_str()) != 0) return;
  std::string action;
  std::ifstream(fired) >> action;
  if (action == "kill") ::kill(::getpid(), SIGKILL);
  if (action == "stop") ::kill(::getpid(), SIGSTOP);
  if (action == "hold") hold(path);
}

bool planted(std::string_view fault) {
  static const std::string name = environment("GODWIT_PLANTED_FAULT");
  return !name.empty() && name == fault;
}

}  // namespace godwit::migrate

#endif
