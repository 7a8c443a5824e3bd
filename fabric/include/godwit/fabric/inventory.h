// Inventory: what this machine has that the fabric could use. For people and tools, not for
// engines.
//
// A snapshot, taken without connecting to anything: RDMA devices as the kernel shows them and as
// rdma-core can open them, network interfaces, the limit of locked memory. Value types; any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace godwit::fabric {

/// One of a port's addresses that is in use.
struct RdmaGid {
  std::uint32_t index = 0;
  std::string gid;        // eight groups of four hexadecimal digits
  std::string type;       // "RoCE v2", "IB/RoCE v1"; empty where the kernel does not say
  std::string interface;  // network interface behind it; empty: none (InfiniBand)
};

struct RdmaPort {
  std::uint32_t number = 1;
  std::string state;                 // "ACTIVE", "DOWN" ... as the kernel calls it
  std::string link_layer;            // "Ethernet": RoCE; "InfiniBand"
  std::optional<std::uint32_t> mtu;  // bytes in one packet; unknown unless rdma-core opens it
  std::vector<RdmaGid> gids;
};

struct RdmaDevice {
  std::string name;     // "rxe0", "mlx5_0"
  std::string problem;  // why this process cannot open it, and what to do; empty: it can
  std::vector<RdmaPort> ports;
};

struct NetworkInterface {
  std::string name;
  bool up = false;
  std::uint32_t mtu = 0;               // bytes
  std::vector<std::string> addresses;  // numeric, IPv4 first; without link-local ones
  std::string rdma_device;             // that uses it; empty: none
};

struct Inventory {
  std::vector<RdmaDevice> devices;           // by name
  std::vector<NetworkInterface> interfaces;  // in the kernel's order
  /// Bytes that this process may lock (RLIMIT_MEMLOCK); empty: as many as it likes. Processes
  /// started elsewhere may have another limit.
  std::optional<std::uint64_t> locked_memory;
  bool built_with_verbs = false;  // rdma-core was found when this library was built
  bool built_with_ucx = false;
};

/// Looks around. What cannot be read is left out. `sysfs` is another root for tests.
Inventory take_inventory(const std::string& sysfs = "/sys");

}  // namespace godwit::fabric
