#include "private_zookeeper.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <fstream>
#include <string_view>
#include <utility>

namespace godwit::local_cluster {

namespace {

using Clock = std::chrono::steady_clock;

// Where the packages zookeeper and default-jre put them.
constexpr const char* kJava = "/usr/bin/java";
constexpr const char* kJar = "/usr/share/java/zookeeper.jar";

constexpr auto kStopPatience = std::chrono::seconds(5);
constexpr auto kKillPatience = std::chrono::seconds(10);
constexpr int kAnswerLimit = 1000;  // ms

// What the server answers to a four-letter word; empty if it does not.
std::string ask(const PrivateZooKeeperOptions& server, std::string_view word) {
  // In the server's own namespace, so that links which are cut do not matter.
  const auto socket = open_socket_in(server.namespaces, SOCK_STREAM);
  if (!socket) return {};
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(server.port);
  ::inet_pton(AF_INET, server.host.c_str(), &address.sin_addr);
  if (::connect(socket->get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 &&
      errno != EINPROGRESS) {
    return {};
  }
  pollfd ready{socket->get(), POLLOUT, 0};
  if (::poll(&ready, 1, kAnswerLimit) != 1 ||
      ::send(socket->get(), word.data(), word.size(), MSG_NOSIGNAL) !=
          static_cast<ssize_t>(word.size())) {
    return {};
  }
  std::string answer;
  std::array<char, 1024> piece;
  ready.events = POLLIN;
  while (::poll(&ready, 1, kAnswerLimit) == 1) {
    const ssize_t size = ::recv(socket->get(), piece.data(), piece.size(), 0);
    if (size <= 0) break;
    answer.append(piece.data(), static_cast<std::size_t>(size));
  }
  return answer;
}

bool write_files(const PrivateZooKeeperOptions& options) {
  const std::string& folder = options.folder;
  const std::string data = folder + "/data";
  if (::mkdir(folder.c_str(), 0700) != 0 || ::mkdir(data.c_str(), 0700) != 0) return false;
  std::ofstream(data + "/myid") << options.id << "\n";
  std::ofstream(folder + "/log4j.properties")
      << "log4j.rootLogger=WARN, stderr\n"
         "log4j.appender.stderr=org.apache.log4j.ConsoleAppender\n"
         "log4j.appender.stderr.target=System.err\n"
         "log4j.appender.stderr.layout=org.apache.log4j.PatternLayout\n"
         "log4j.appender.stderr.layout.ConversionPattern=%d{ISO8601} %-5p %c{1}: %m%n\n";
  std::ofstream configuration(folder + "/zoo.cfg");
  // A follower is given up after two seconds of silence, so that a leader's loss is quickly over.
  configuration << "tickTime=500\ninitLimit=20\nsyncLimit=4\nmaxClientCnxns=0\n"
                << "dataDir=" << data << "\n"
                << "clientPort=" << options.port << "\nclientPortAddress=" << options.host << "\n"
                << "admin.enableServer=false\n4lw.commands.whitelist=srvr\n"
                << options.members;
  configuration.flush();
  return configuration.good();
}

}  // namespace

Result<PrivateZooKeeper> PrivateZooKeeper::make(PrivateZooKeeperOptions options) {
  for (const char* needed : {kJava, kJar}) {
    if (::access(needed, R_OK) != 0) {
      return fail(Errc::not_found, std::string("no ") + needed + ": install the package zookeeper");
    }
  }
  if (!write_files(options)) return fail_errno("cannot make the folder " + options.folder);
  return PrivateZooKeeper(std::move(options));
}

Result<void> PrivateZooKeeper::start() {
  if (server_ && !server_->ended()) return {};
  const std::string& folder = options_.folder;
  ChildOptions child;
  child.error_file = folder + "/zookeeper.log";
  child.namespaces = options_.namespaces;
  // Without the package's script, so that the process started is the server itself. The serial
  // collector and the first compiler alone let it start in half the time. Connections between
  // members are given up early, because one that is cut off does not even refuse them.
  auto server = ChildProcess::start(
      {kJava, "-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
       "-Dzookeeper.cnxTimeout=1000", "-cp", folder + ":" + kJar,
       "org.apache.zookeeper.server.quorum.QuorumPeerMain", folder + "/zoo.cfg"},
      std::move(child));
  if (!server) return tl::make_unexpected(server.error());
  server_ = std::move(*server);
  paused_ = false;
  return {};
}

Result<void> PrivateZooKeeper::wait_serving(std::chrono::milliseconds limit) {
  const std::string log = options_.folder + "/zookeeper.log";
  const auto until = Clock::now() + limit;
  while (!mode()) {
    if (!server_ || server_->ended()) {
      return fail(Errc::system, "ZooKeeper ended at its start; see " + log);
    }
    if (Clock::now() > until) {
      return fail(Errc::deadline_exceeded, "ZooKeeper does not serve; see " + log);
    }
    server_->wait_line(std::chrono::milliseconds(50));
  }
  return {};
}

void PrivateZooKeeper::stop() {
  if (server_) server_->stop(kStopPatience);
  server_.reset();
  paused_ = false;
}

void PrivateZooKeeper::kill() {
  if (server_) {
    server_->signal(SIGKILL);
    server_->wait(kKillPatience);
  }
  server_.reset();
  paused_ = false;
}

void PrivateZooKeeper::pause() {
  if (server_) server_->pause();
  paused_ = true;
}

void PrivateZooKeeper::resume() {
  if (server_) server_->resume();
  paused_ = false;
}

std::optional<std::string> PrivateZooKeeper::mode() const {
  if (!running()) return std::nullopt;
  constexpr std::string_view kKey = "Mode: ";
  const std::string answer = ask(options_, "srvr");
  const auto begin = answer.find(kKey);
  if (begin == std::string::npos) return std::nullopt;
  const auto end = answer.find('\n', begin);
  return answer.substr(begin + kKey.size(), end - begin - kKey.size());
}

}  // namespace godwit::local_cluster
