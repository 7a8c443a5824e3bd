#include "private_zookeeper.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstring>
#include <fstream>
#include <optional>

namespace godwit::local_cluster {

namespace {

using Clock = std::chrono::steady_clock;

// Where the packages zookeeper and default-jre put them.
constexpr const char* kJava = "/usr/bin/java";
constexpr const char* kJar = "/usr/share/java/zookeeper.jar";

sockaddr_in loopback(std::uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

std::optional<std::uint16_t> free_port() {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address = loopback(0);
  socklen_t size = sizeof address;
  const bool found = ::bind(fd, reinterpret_cast<sockaddr*>(&address), size) == 0 &&
                     ::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) == 0;
  ::close(fd);
  if (!found) return std::nullopt;
  return ntohs(address.sin_port);
}

// "srvr" is answered with the server's state once it serves.
bool answers(std::uint16_t port) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const sockaddr_in address = loopback(port);
  bool serving = false;
  if (::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 &&
      ::send(fd, "srvr", 4, MSG_NOSIGNAL) == 4) {
    pollfd ready{fd, POLLIN, 0};
    std::array<char, 512> text{};
    serving = ::poll(&ready, 1, 500) > 0 && ::recv(fd, text.data(), text.size() - 1, 0) > 0 &&
              std::strstr(text.data(), "Mode:") != nullptr;
  }
  ::close(fd);
  return serving;
}

}  // namespace

Result<PrivateZooKeeper> PrivateZooKeeper::start(const std::string& folder) {
  for (const char* needed : {kJava, kJar}) {
    if (::access(needed, R_OK) != 0) {
      return fail(Errc::not_found, std::string("no ") + needed + ": install the package zookeeper");
    }
  }
  const auto port = free_port();
  if (!port) return fail(Errc::system, "no free port on the loopback device");
  if (::mkdir(folder.c_str(), 0700) != 0) return fail_errno("cannot make the folder " + folder);
  const std::string configuration = folder + "/zoo.cfg";
  std::ofstream(configuration) << "tickTime=500\ninitLimit=10\nsyncLimit=5\n"
                               << "dataDir=" << folder << "/data\n"
                               << "clientPort=" << *port << "\nclientPortAddress=127.0.0.1\n"
                               << "admin.enableServer=false\n4lw.commands.whitelist=srvr\n";
  std::ofstream(folder + "/log4j.properties")
      << "log4j.rootLogger=WARN, stderr\n"
         "log4j.appender.stderr=org.apache.log4j.ConsoleAppender\n"
         "log4j.appender.stderr.target=System.err\n"
         "log4j.appender.stderr.layout=org.apache.log4j.PatternLayout\n";
  // Without the package's script, so that the process started is the server itself. The serial
  // collector and the first compiler alone let it start in half the time.
  auto server = ChildProcess::start(
      {kJava, "-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", folder + ":" + kJar,
       "org.apache.zookeeper.server.quorum.QuorumPeerMain", configuration},
      {.environment = {}, .error_file = folder + "/zookeeper.log"});
  if (!server) return tl::make_unexpected(server.error());
  const auto until = Clock::now() + std::chrono::seconds(20);
  while (!answers(*port)) {
    if (server->ended()) {
      return fail(Errc::system, "ZooKeeper ended at its start; see " + folder + "/zookeeper.log");
    }
    if (Clock::now() > until) {
      return fail(Errc::deadline_exceeded, "ZooKeeper did not serve within 20 s");
    }
    server->wait_line(std::chrono::milliseconds(50));
  }
  return PrivateZooKeeper(std::move(*server), "127.0.0.1:" + std::to_string(*port));
}

}  // namespace godwit::local_cluster
