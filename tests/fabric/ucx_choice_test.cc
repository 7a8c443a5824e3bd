// What UcxOptions leave open: the environment's, or what fits the host.
#include <gtest/gtest.h>

#ifdef GODWIT_HAVE_UCX

#include <cstdlib>

#include "godwit/fabric/rdma_hosts.h"
#include "ucx/config.h"

namespace godwit::fabric::ucx {
namespace {

class UcxChoice : public testing::Test {
 protected:
  UcxChoice() {
    options.host = "127.0.0.1";
    for (const char* name : kNames) unsetenv(name);
  }
  ~UcxChoice() override {
    for (const char* name : kNames) unsetenv(name);
  }
  static constexpr const char* kNames[] = {"UCX_TLS", "UCX_NET_DEVICES",
                                           "UCX_SOCKADDR_TLS_PRIORITY"};
  UcxOptions options;
};

TEST_F(UcxChoice, TcpWhereTheHostHasNoRdmaDevice) {
  const Choice choice = choose(options);
  EXPECT_EQ(choice.tls, "tcp");
  EXPECT_EQ(choice.net_devices, "lo");
  EXPECT_EQ(choice.sockaddr_tls_priority, "tcp");
}

TEST_F(UcxChoice, RdmaWhereItHasOne) {
  if (rdma_hosts().empty()) GTEST_SKIP() << "this machine has no RDMA device";
  options.host = rdma_hosts().front();
  Choice choice = choose(options);
  EXPECT_EQ(choice.tls, "rc_verbs,self");
  EXPECT_EQ(choice.net_devices, rdma_port_of(options.host));
  EXPECT_EQ(choice.sockaddr_tls_priority, "rdmacm");
  options.tls = "tcp";  // by the interface of the same address
  choice = choose(options);
  EXPECT_EQ(choice.net_devices, device_of(options.host));
  EXPECT_EQ(choice.sockaddr_tls_priority, "tcp");
}

TEST_F(UcxChoice, TheConnectionManagerFitsTheTransports) {
  for (const char* tls : {"rc_verbs,self", "self,rc_mlx5", "ib", "dc_x,self"}) {
    options.tls = tls;
    EXPECT_EQ(choose(options).sockaddr_tls_priority, "rdmacm") << tls;
  }
  for (const char* tls : {"tcp", "posix,tcp", "all"}) {
    options.tls = tls;
    EXPECT_EQ(choose(options).sockaddr_tls_priority, "tcp") << tls;
  }
}

TEST_F(UcxChoice, AnOptionBeatsTheEnvironmentAndThatBeatsTheHost) {
  setenv("UCX_TLS", "rc_mlx5,self", 1);
  setenv("UCX_NET_DEVICES", "mlx5_3:1", 1);
  Choice choice = choose(options);
  EXPECT_EQ(choice.tls, "rc_mlx5,self");
  EXPECT_EQ(choice.net_devices, "mlx5_3:1");
  EXPECT_EQ(choice.sockaddr_tls_priority, "rdmacm");
  options.tls = "posix,tcp";
  options.net_devices = "lo";
  options.sockaddr_tls_priority = "sockcm";
  choice = choose(options);
  EXPECT_EQ(choice.tls, "posix,tcp");
  EXPECT_EQ(choice.net_devices, "lo");
  EXPECT_EQ(choice.sockaddr_tls_priority, "sockcm");
}

}  // namespace
}  // namespace godwit::fabric::ucx

#endif
