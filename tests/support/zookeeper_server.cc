#include "support/zookeeper_server.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <thread>

namespace godwit::test_support {
namespace {

using namespace std::chrono_literals;
constexpr const char* kJar = "/usr/share/java/zookeeper.jar";
constexpr const char* kJava = "/usr/bin/java";
constexpr auto kStartLimit = 30s;

sockaddr_in loopback(int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

// Ports that were free a moment ago; all held until the last is known, so they differ.
std::vector<int> free_ports(int count) {
  std::vector<int> sockets;
  std::vector<int> ports;
  for (int i = 0; i < count; ++i) {
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address = loopback(0);
    socklen_t size = sizeof address;
    if (bind(fd, reinterpret_cast<sockaddr*>(&address), size) == 0 &&
        getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) == 0)
      ports.push_back(ntohs(address.sin_port));
    sockets.push_back(fd);
  }
  for (const int fd : sockets) close(fd);
  return ports;
}

// The answer to a four-letter command; empty if there is none within a second.
std::string ask(int port, const std::string& command) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const sockaddr_in address = loopback(port);
  std::string answer;
  if (connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 &&
      write(fd, command.data(), command.size()) == static_cast<ssize_t>(command.size())) {
    char buffer[1024];
    pollfd readable{fd, POLLIN, 0};
    while (poll(&readable, 1, 1000) == 1) {
      const ssize_t size = read(fd, buffer, sizeof buffer);
      if (size <= 0) break;
      answer.append(buffer, static_cast<std::size_t>(size));
    }
  }
  close(fd);
  return answer;
}

}  // namespace

std::optional<std::string> ZooKeeperServer::unavailable() {
  for (const char* file : {kJar, kJava})
    if (access(file, R_OK) != 0) return std::string("no ZooKeeper server here: ") + file;
  return std::nullopt;
}

bool ZooKeeperServer::write_files(int id, const std::string& members) {
  char name[] = "/tmp/godwit-zookeeper-XXXXXX";
  if (mkdtemp(name) == nullptr) return false;
  folder_ = name;
  std::filesystem::create_directory(folder_ + "/data");
  std::ofstream(folder_ + "/data/myid") << id << "\n";
  std::ofstream(folder_ + "/log4j.properties")
      << "log4j.rootLogger=WARN, file\n"
         "log4j.appender.file=org.apache.log4j.FileAppender\n"
         "log4j.appender.file.File="
      << folder_
      << "/server.log\n"
         "log4j.appender.file.layout=org.apache.log4j.PatternLayout\n"
         "log4j.appender.file.layout.ConversionPattern=%d{ISO8601} %-5p %c{1}: %m%n\n";
  std::ofstream conf(folder_ + "/zoo.cfg");
  conf << "tickTime=500\ninitLimit=20\nsyncLimit=4\nmaxClientCnxns=0\n"
       << "dataDir=" << folder_ << "/data\n"
       << "clientPort=" << client_port_ << "\nclientPortAddress=127.0.0.1\n"
       << "admin.enableServer=false\n4lw.commands.whitelist=srvr\n"
       << members;
  return conf.good();
}

bool ZooKeeperServer::launch() {
  const std::string classpath = folder_ + ":" + kJar;
  const std::string conf = folder_ + "/zoo.cfg";
  const std::string output = folder_ + "/output";
  const pid_t parent = getpid();
  pid_ = fork();
  if (pid_ != 0) return pid_ > 0;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(1);
  const int fd = open(output.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
  dup2(fd, 1);
  dup2(fd, 2);
  // Serial collector and first compiler only: it starts in half the time and threads.
  execl(kJava, kJava, "-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp",
        classpath.c_str(), "org.apache.zookeeper.server.quorum.QuorumPeerMain", conf.c_str(),
        static_cast<char*>(nullptr));
  _exit(127);
}

bool ZooKeeperServer::wait_serving(std::chrono::milliseconds limit) const {
  const auto deadline = std::chrono::steady_clock::now() + limit;
  while (std::chrono::steady_clock::now() < deadline) {
    if (ask(client_port_, "srvr").find("Mode:") != std::string::npos) return true;
    std::this_thread::sleep_for(20ms);
  }
  std::cerr << "ZooKeeper does not answer. Its log:\n"
            << std::ifstream(folder_ + "/output").rdbuf()
            << std::ifstream(folder_ + "/server.log").rdbuf() << "\n";
  return false;
}

std::unique_ptr<ZooKeeperServer> ZooKeeperServer::start() {
  std::unique_ptr<ZooKeeperServer> server(new ZooKeeperServer);
  const auto ports = free_ports(1);
  if (ports.empty()) return nullptr;
  server->client_port_ = ports.front();
  if (!server->write_files(1, "") || !server->launch() || !server->wait_serving(kStartLimit))
    return nullptr;
  return server;
}

ZooKeeperServer::~ZooKeeperServer() {
  kill();
  if (folder_.empty()) return;
  std::error_code ignored;
  std::filesystem::remove_all(folder_, ignored);
}

std::string ZooKeeperServer::address() const {
  return "127.0.0.1:" + std::to_string(client_port_);
}

void ZooKeeperServer::end(int signal) {
  if (pid_ <= 0) return;
  ::kill(pid_, signal);
  ::kill(pid_, SIGCONT);  // a stopped one would not act on SIGTERM
  waitpid(pid_, nullptr, 0);
  pid_ = -1;
}

void ZooKeeperServer::stop() {
  end(SIGTERM);
}
void ZooKeeperServer::kill() {
  end(SIGKILL);
}
void ZooKeeperServer::pause() {
  if (pid_ > 0) ::kill(pid_, SIGSTOP);
}
void ZooKeeperServer::resume() {
  if (pid_ > 0) ::kill(pid_, SIGCONT);
}

std::unique_ptr<ZooKeeperEnsemble> ZooKeeperEnsemble::start() {
  auto ensemble = std::make_unique<ZooKeeperEnsemble>();
  const auto ports = free_ports(9);
  if (ports.size() != 9) return nullptr;
  std::string members;
  for (std::size_t i = 0; i < 3; ++i)
    members += "server." + std::to_string(i + 1) + "=127.0.0.1:" + std::to_string(ports[3 + i]) +
               ":" + std::to_string(ports[6 + i]) + "\n";
  for (std::size_t i = 0; i < 3; ++i) {
    std::unique_ptr<ZooKeeperServer> server(new ZooKeeperServer);
    server->client_port_ = ports[i];
    if (!server->write_files(static_cast<int>(i) + 1, members) || !server->launch()) return nullptr;
    ensemble->servers_.push_back(std::move(server));
  }
  return ensemble->wait_serving(kStartLimit) ? std::move(ensemble) : nullptr;
}

std::string ZooKeeperEnsemble::addresses() const {
  std::string all;
  for (const auto& server : servers_) all += (all.empty() ? "" : ",") + server->address();
  return all;
}

bool ZooKeeperEnsemble::wait_serving(std::chrono::milliseconds limit) const {
  for (const auto& server : servers_)
    if (!server->wait_serving(limit)) return false;
  return true;
}

}  // namespace godwit::test_support
