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

#include "godwit/fabric/rdma_hosts.h"
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

constexpr Setting kForRdma[] = {
    // What a vanished peer leaves unacknowledged is repeated by the device, seven times after 134
    // ms:
    // about a second, as with verbs. UCX's own values make it 9 s.
    {"RC_TIMEOUT", "134ms"},
    {"RC_RETRY_COUNT", "6"},
    // Receive buffers of 8 KiB, locked: UCX's 4095 of them are 34 MB for each engine.
    {"IB_RX_QUEUE_LEN", "1024"},
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

bool names_rdma(std::string_view tls) {
  return names_any(tls, {"rc", "rc_verbs", "rc_v", "rc_mlx5", "rc_x", "dc", "dc_mlx5", "dc_x", "ib",
                         "ud", "ud_verbs", "ud_v", "ud_mlx5", "ud_x"});
}

/// A setting of the user's: named by an option, or else in the environment.
std::string chosen(const std::string& option, const char* variable) {
  if (!option.empty()) return option;
  const char* value = std::getenv(variable);
  return value == nullptr ? std::string() : value;
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

Choice choose(const UcxOptions& options) {
  const std::string port = rdma_port_of(options.host);
  Choice choice;
  choice.tls = chosen(options.tls, "UCX_TLS");
  // Reliable connections alone: the others need no fewer resources until there are thousands of
  // peers, and over soft-RoCE UCX's unreliable datagrams do not work.
  if (choice.tls.empty()) choice.tls = port.empty() ? "tcp" : "rc_verbs,self";
  const bool rdma = names_rdma(choice.tls);
  choice.sockaddr_tls_priority = chosen(options.sockaddr_tls_priority, "UCX_SOCKADDR_TLS_PRIORITY");
  if (choice.sockaddr_tls_priority.empty()) choice.sockaddr_tls_priority = rdma ? "rdmacm" : "tcp";
  // Chosen explicitly: UCX would also use bridges of containers, which other nodes cannot reach.
  choice.net_devices = chosen(options.net_devices, "UCX_NET_DEVICES");
  if (choice.net_devices.empty())
    choice.net_devices = rdma && !port.empty() ? port : device_of(options.host);
  return choice;
}

Result<ucp_config_t*> make_config(const Choice& choice) {
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
  Result<void> done = set("TLS", choice.tls.c_str());
  if (done) done = set("NET_DEVICES", choice.net_devices.c_str());
  if (done) done = set("SOCKADDR_TLS_PRIORITY", choice.sockaddr_tls_priority.c_str());
  const auto set_all = [&](std::span<const Setting> settings) {
    for (const Setting& setting : settings) {
      if (done) done = set(setting.name, setting.value);
    }
  };
  set_all(kAlways);
  if (names_any(choice.tls, {"all", "tcp"})) set_all(kForTcp);
  if (names_any(choice.tls, {"all", "shm", "sm", "mm", "posix", "sysv"})) set_all(kForSharedMemory);
  if (names_rdma(choice.tls)) set_all(kForRdma);
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
