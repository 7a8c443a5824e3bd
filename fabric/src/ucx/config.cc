#ifdef GODWIT_HAVE_UCX

#include "ucx/config.h"

#include <arpa/inet.h>
#include <dlfcn.h>
#include <ifaddrs.h>
#include <netinet/in.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <initializer_list>
#include <span>
#include <string_view>

#if __has_include(<ucs/debug/debug.h>)
#include <ucs/debug/debug.h>
#define GODWIT_UCX_RELEASES_SIGNALS 1
#endif

#include "ucx/handles.h"

namespace godwit::fabric::ucx {

namespace {

struct Setting {
  const char* name;
  const char* value;
};

// A setting of one of UCX's transports is named here as in
// that transport's own table, without the prefix that it has in the environment (UCX_TCP_KEEPIDLE
// is KEEPIDLE); UCX accepts any other name without a word and without effect. A test looks at that.
constexpr Setting kAlways[] = {
    // A restarted engine may be given a port whose old connections linger.
    {"CM_REUSEADDR", "y"},
    // Two rounds find a dead process within a second where no socket tells of it.
    {"KEEPALIVE_INTERVAL", "300ms"},
    // The default looks at 128 endpoints a round, so many connections would take many rounds.
    {"KEEPALIVE_NUM_EPS", "inf"},
    // Eager messages stay on one lane and so in order: Reorder then holds back only what follows a
    // rendezvous.
    {"MAX_EAGER_RAILS", "1"},
};

constexpr Setting kForTcp[] = {
    // A node that is gone sends no reset: the kernel's probes end an idle connection after 4 s
    // (seconds are the kernel's unit). Whoever must know sooner sends heartbeats.
    {"KEEPIDLE", "1s"},
    {"KEEPINTVL", "1s"},
    {"KEEPCNT", "3"},
};

constexpr Setting kForSharedMemory[] = {
    // Without it the error handling that we ask for rules out shared memory. Keepalives then look
    // whether the peer's process is there.
    {"MM_ERROR_HANDLING", "y"},
    // A frame of 64 bytes with all headers is 112 bytes; it must fit a queue element, or it takes
    // the slower way through a second buffer.
    {"MM_FIFO_ELEM_SIZE", "256"},
};

// Whether a list of transports as UCX_TLS takes it names one of these.
bool names_any(std::string_view list, std::initializer_list<std::string_view> names) {
  while (!list.empty()) {
    const auto comma = std::min(list.find(','), list.size());
    if (std::find(names.begin(), names.end(), list.substr(0, comma)) != names.end()) return true;
    list.remove_prefix(std::min(comma + 1, list.size()));
  }
  return false;
}

bool address_matches(const sockaddr* address, const std::string& host) {
  char text[INET6_ADDRSTRLEN];
  const void* bytes = nullptr;
  if (address->sa_family == AF_INET) {
    bytes = &reinterpret_cast<const sockaddr_in*>(address)->sin_addr;
  } else if (address->sa_family == AF_INET6) {
    bytes = &reinterpret_cast<const sockaddr_in6*>(address)->sin6_addr;
  } else {
    return false;
  }
  return inet_ntop(address->sa_family, bytes, text, sizeof text) != nullptr && host == text;
}

}  // namespace

std::string device_of(const std::string& host) {
  ifaddrs* list = nullptr;
  if (getifaddrs(&list) != 0) return "all";
  std::string device = "all";
  for (const ifaddrs* item = list; item != nullptr; item = item->ifa_next) {
    if (item->ifa_addr != nullptr && address_matches(item->ifa_addr, host)) {
      device = item->ifa_name;
      break;
    }
  }
  freeifaddrs(list);
  return device;
}

Result<ucp_config_t*> make_config(const UcxOptions& options, const std::string& host) {
  ucp_config_t* config = nullptr;
  if (const ucs_status_t status = ucp_config_read(nullptr, nullptr, &config); status != UCS_OK)
    return tl::make_unexpected(
        ucx_error(Errc::invalid_argument, "UCX cannot read its configuration", status));
  const auto set = [config](const char* name, const char* value) -> Result<void> {
    const ucs_status_t status = ucp_config_modify(config, name, value);
    if (status == UCS_OK) return {};
    return tl::make_unexpected(ucx_error(Errc::invalid_argument,
                                         std::string("UCX refuses ") + name + "=" + value, status));
  };
  Result<void> done = set("TLS", options.tls.c_str());
  // Chosen explicitly: UCX would also use bridges of containers, which other nodes cannot reach.
  const std::string devices = options.net_devices.empty() ? device_of(host) : options.net_devices;
  if (done) done = set("NET_DEVICES", devices.c_str());
  if (done) done = set("SOCKADDR_TLS_PRIORITY", options.sockaddr_tls_priority.c_str());
  const auto set_all = [&](std::span<const Setting> settings) {
    for (const Setting& setting : settings) {
      if (done) done = set(setting.name, setting.value);
    }
  };
  set_all(kAlways);
  if (names_any(options.tls, {"all", "tcp"})) set_all(kForTcp);
  if (names_any(options.tls, {"all", "shm", "sm", "mm", "posix", "sysv"}))
    set_all(kForSharedMemory);
  // UCX prints to standard output whenever a peer dies, which here is an event like any other. Who
  // debugs UCX sets the level in the environment.
  if (done && std::getenv("UCX_LOG_LEVEL") == nullptr) done = set("LOG_LEVEL", "fatal");
  if (!done) {
    ucp_config_release(config);
    return tl::make_unexpected(std::move(done.error()));
  }
  return config;
}

void release_signals() noexcept {
#ifdef GODWIT_UCX_RELEASES_SIGNALS
  // UCX's variables would do, but the library reads them when it is loaded, before main() can say
  // anything. What a user has set there holds; handlers that others have set since are not touched.
  static const bool once = [] {
    for (const int signal : {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGHUP}) {
      const char* variable = signal == SIGHUP ? "UCX_DEBUG_SIGNO" : "UCX_HANDLE_ERRORS";
      if (std::getenv(variable) != nullptr) continue;
      struct sigaction current {};
      if (sigaction(signal, nullptr, &current) != 0) continue;
      Dl_info info{};
      if (dladdr(reinterpret_cast<void*>(current.sa_sigaction), &info) == 0) continue;
      if (info.dli_fname == nullptr) continue;
      if (std::string_view(info.dli_fname).find("libucs.so") == std::string_view::npos) continue;
      ucs_debug_disable_signal(signal);
    }
    return true;
  }();
  (void)once;
#endif
}

}  // namespace godwit::fabric::ucx

#endif
