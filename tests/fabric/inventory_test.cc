#include "godwit/fabric/inventory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/resource.h>

#include <filesystem>
#include <fstream>

namespace godwit::fabric {
namespace {

namespace fs = std::filesystem;

// A /sys with what the test writes into it.
class FakeSysfs : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string path = (fs::temp_directory_path() / "godwit-sysfs-XXXXXX").string();
    ASSERT_NE(::mkdtemp(path.data()), nullptr);
    root_ = path;
  }
  void TearDown() override { fs::remove_all(root_); }
  void write(const std::string& path, const std::string& text) {
    fs::create_directories((root_ / path).parent_path());
    std::ofstream(root_ / path) << text << "\n";
  }
  Inventory take() { return take_inventory(root_.string()); }
  fs::path root_;
};

TEST_F(FakeSysfs, AMachineWithoutRdmaHasNoDevices) {
  const Inventory inventory = take();
  EXPECT_TRUE(inventory.devices.empty());
  const auto loopback = std::find_if(inventory.interfaces.begin(), inventory.interfaces.end(),
                                     [](const auto& each) { return each.name == "lo"; });
  ASSERT_NE(loopback, inventory.interfaces.end());
  EXPECT_THAT(loopback->rdma_device, ::testing::IsEmpty());
}

TEST_F(FakeSysfs, DevicesPortsAndGidsAreRead) {
  const std::string port = "class/infiniband/fake0/ports/1/";
  write(port + "state", "4: ACTIVE");
  write(port + "link_layer", "Ethernet");
  write(port + "gids/0", "fe80:0000:0000:0000:5054:00ff:fe12:3456");
  write(port + "gids/1", "0000:0000:0000:0000:0000:ffff:7f00:0001");
  write(port + "gids/2", "0000:0000:0000:0000:0000:0000:0000:0000");
  write(port + "gids/10", "0000:0000:0000:0000:0000:ffff:0a00:0002");
  write(port + "gid_attrs/types/1", "RoCE v2");
  write(port + "gid_attrs/ndevs/1", "lo");
  write("class/infiniband/fake1/ports/1/state", "1: DOWN");
  write("class/net/lo/mtu", "65536");
  const Inventory inventory = take();
  ASSERT_EQ(inventory.devices.size(), 2u);
  const RdmaDevice& device = inventory.devices[0];
  EXPECT_EQ(device.name, "fake0");
  // The kernel shows it, and nobody could open it.
  EXPECT_THAT(device.problem, ::testing::Not(::testing::IsEmpty()));
  ASSERT_EQ(device.ports.size(), 1u);
  EXPECT_EQ(device.ports[0].number, 1u);
  EXPECT_EQ(device.ports[0].state, "ACTIVE");
  EXPECT_EQ(device.ports[0].link_layer, "Ethernet");
  EXPECT_FALSE(device.ports[0].mtu);
  ASSERT_EQ(device.ports[0].gids.size(), 3u) << "a GID of zeros is not in use";
  EXPECT_EQ(device.ports[0].gids[1].type, "RoCE v2");
  EXPECT_EQ(device.ports[0].gids[1].interface, "lo");
  EXPECT_EQ(device.ports[0].gids[2].index, 10u);
  EXPECT_EQ(inventory.devices[1].ports[0].state, "DOWN");
  for (const NetworkInterface& interface : inventory.interfaces) {
    EXPECT_EQ(interface.rdma_device, interface.name == "lo" ? "fake0" : "") << interface.name;
    if (interface.name == "lo") {
      EXPECT_EQ(interface.mtu, 65536u);
    }
  }
}

TEST(InventoryOfThisMachine, KnowsTheLimitOfLockedMemory) {
  const Inventory inventory = take_inventory();
  rlimit limit{};
  ASSERT_EQ(::getrlimit(RLIMIT_MEMLOCK, &limit), 0);
  EXPECT_EQ(inventory.locked_memory.has_value(), limit.rlim_cur != RLIM_INFINITY);
  EXPECT_FALSE(inventory.interfaces.empty());
}

}  // namespace
}  // namespace godwit::fabric
