#include "admin_client.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "godwit/agent_link.h"

namespace godwit::node {

namespace {

namespace proto = endpoints::proto;
using Clock = std::chrono::steady_clock;

constexpr std::size_t kReadSize = 64 * 1024;
// Reading all endpoints of a large cluster, as a listing and a plan may, takes longer than a usual
// question.
constexpr std::chrono::seconds kListingTime{60};

Result<void> wait_for(int fd, short events, Clock::time_point deadline) {
  while (true) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()).count();
    if (left <= 0) return fail(Errc::deadline_exceeded, "the agent did not answer in time");
    pollfd poll{fd, events, 0};
    const int ready = ::poll(&poll, 1, static_cast<int>(left));
    if (ready > 0) return {};
    if (ready < 0 && errno != EINTR) return fail_errno("cannot wait for the agent");
  }
}

Error to_error(const proto::Failure& failure) {
  const bool known = failure.code() >= 1 && failure.code() <= static_cast<unsigned>(Errc::system);
  return Error{known ? static_cast<Errc>(failure.code()) : Errc::system, failure.message(),
               failure.endpoint()};
}

tl::unexpected<Error> unexpected_answer() {
  return fail(Errc::protocol_error, "the agent answered something else than what was asked");
}

}  // namespace

Result<AdminClient> AdminClient::connect(std::string runtime_directory,
                                         std::chrono::milliseconds timeout) {
  if (runtime_directory.empty()) runtime_directory = default_runtime_directory();
  const std::string path = agent_socket_path(runtime_directory);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) {
    return fail(Errc::invalid_argument, "the path " + path + " is too long for a Unix socket");
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return fail_errno("cannot make a socket for the agent");
  AdminClient client(fd, timeout);
  if (::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    if (errno == EACCES || errno == EPERM) {
      return fail(Errc::permission_denied, "the agent at " + path + " belongs to another user");
    }
    return fail(Errc::agent_unavailable,
                "no agent answers at " + path + " (" + std::strerror(errno) +
                    "): start godwitd, or name its run directory with --run "
                    "or GODWIT_RUN");
  }
  proto::Request request;
  request.mutable_hello()->set_version_min(agent_protocol::kVersionMin);
  request.mutable_hello()->set_version_max(agent_protocol::kVersionMax);
  auto answer = client.ask(request);
  if (!answer) return tl::make_unexpected(std::move(answer.error()));
  if (!answer->has_hello()) return unexpected_answer();
  client.hello_ = answer->hello();
  return client;
}

AdminClient::AdminClient(AdminClient&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)),
      timeout_(other.timeout_),
      next_number_(other.next_number_),
      reader_(std::move(other.reader_)),
      hello_(std::move(other.hello_)) {}

AdminClient& AdminClient::operator=(AdminClient&& other) noexcept {
  std::swap(fd_, other.fd_);
  std::swap(timeout_, other.timeout_);
  std::swap(next_number_, other.next_number_);
  std::swap(reader_, other.reader_);
  std::swap(hello_, other.hello_);
  return *this;
}

AdminClient::~AdminClient() {
  close();
}

void AdminClient::close() noexcept {
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
}

Result<proto::Response> AdminClient::ask(proto::Request& request) {
  if (fd_ < 0) return fail(Errc::closed, "the connection to the agent is closed");
  const bool listing = request.has_list_endpoints() || request.has_migrate() || request.has_drain();
  const auto limit =
      listing ? std::max<std::chrono::milliseconds>(timeout_, kListingTime) : timeout_;
  const auto deadline = Clock::now() + limit;
  request.set_number(next_number_++);
  // The agent gives up a little earlier, so that its reason is what the caller sees.
  request.set_timeout_ms(
      static_cast<std::uint32_t>(std::max<std::int64_t>(limit.count() * 9 / 10, 1)));
  std::string out;
  agent_protocol::append(request, out);
  const auto broken = [this](Error error) -> Result<proto::Response> {
    close();
    return tl::make_unexpected(std::move(error));
  };
  for (std::size_t sent = 0; sent < out.size();) {
    const ssize_t written = ::send(fd_, out.data() + sent, out.size() - sent, MSG_NOSIGNAL);
    if (written >= 0) {
      sent += static_cast<std::size_t>(written);
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      if (auto ready = wait_for(fd_, POLLOUT, deadline); !ready) return broken(ready.error());
    } else if (errno != EINTR) {
      return broken({Errc::agent_unavailable, "the connection to the agent broke", {}});
    }
  }
  while (true) {
    auto next = reader_.next();
    if (!next) return broken(next.error());
    if (next->whole) {
      proto::Response response;
      if (!response.ParseFromArray(next->message.data(), static_cast<int>(next->message.size()))) {
        return broken({Errc::protocol_error, "the agent sent what is no message", {}});
      }
      if (response.number() != request.number()) continue;
      if (response.has_failure()) return tl::make_unexpected(to_error(response.failure()));
      return response;
    }
    if (auto ready = wait_for(fd_, POLLIN, deadline); !ready) return broken(ready.error());
    const ssize_t got = ::recv(fd_, reader_.prepare(kReadSize), kReadSize, MSG_DONTWAIT);
    if (got > 0) {
      reader_.commit(static_cast<std::size_t>(got));
    } else if (got == 0 || (errno != EAGAIN && errno != EINTR)) {
      return broken({Errc::agent_unavailable, "the agent closed the connection", {}});
    }
  }
}

Result<proto::AgentStatus> AdminClient::status() {
  proto::Request request;
  request.mutable_agent_status();
  auto answer = ask(request);
  if (!answer) return tl::make_unexpected(std::move(answer.error()));
  if (!answer->has_agent_status()) return unexpected_answer();
  return answer->agent_status();
}

Result<std::vector<proto::NodeInfo>> AdminClient::list_nodes() {
  proto::Request request;
  request.mutable_list_nodes();
  auto answer = ask(request);
  if (!answer) return tl::make_unexpected(std::move(answer.error()));
  if (!answer->has_nodes()) return unexpected_answer();
  const auto& nodes = answer->nodes().nodes();
  return std::vector<proto::NodeInfo>(nodes.begin(), nodes.end());
}

Result<std::vector<proto::DcInfo>> AdminClient::list_dcs() {
  proto::Request request;
  request.mutable_list_dcs();
  auto answer = ask(request);
  if (!answer) return tl::make_unexpected(std::move(answer.error()));
  if (!answer->has_dcs_list()) return unexpected_answer();
  const auto& dcs = answer->dcs_list().dcs();
  return std::vector<proto::DcInfo>(dcs.begin(), dcs.end());
}

Result<proto::DcInfo> AdminClient::create_dc(const proto::CreateDcRequest& create) {
  proto::Request request;
  *request.mutable_create_dc() = create;
  auto answer = ask(request);
  if (!answer) return tl::make_unexpected(std::move(answer.error()));
  if (!answer->has_dc()) return unexpected_answer();
  return answer->dc();
}

Result<void> AdminClient::remove_dc(std::string_view name) {
  proto::Request request;
  request.mutable_remove_dc()->set_name(std::string(name));
  auto answer = ask(request);
  if (!answer) return tl::make_unexpected(std::move(answer.error()));
  return {};
}

Result<std::string> AdminClient::export_key(std::string_view dc) {
  proto::Request request;
  request.mutable_export_key()->set_dc(std::string(dc));
  auto answer = ask(request);
  if (!answer) return tl::make_unexpected(std::move(answer.error()));
  if (!answer->has_key()) return unexpected_answer();
  return answer->key().key();
}

Result<proto::DcInfo> AdminClient::import_key(std::string_view dc, std::string_view key) {
  proto::Request request;
  request.mutable_import_key()->set_dc(std::string(dc));
  request.mutable_import_key()->set_key(std::string(key));
  auto answer = ask(request);
  if (!answer) return tl::make_unexpected(std::move(answer.error()));
  if (!answer->has_dc()) return unexpected_answer();
  return answer->dc();
}

Result<void> AdminClient::list_endpoints(
    proto::ListEndpointsRequest filter,
    const std::function<bool(const proto::EndpointInfo&)>& each) {
  filter.set_cursor(0);
  do {
    proto::Request request;
    *request.mutable_list_endpoints() = filter;
    auto answer = ask(request);
    if (!answer) return tl::make_unexpected(std::move(answer.error()));
    if (!answer->has_endpoints()) return unexpected_answer();
    for (const auto& endpoint : answer->endpoints().endpoints()) {
      if (!each(endpoint)) return {};
    }
    filter.set_cursor(answer->endpoints().cursor());
  } while (filter.cursor() != 0);
  return {};
}

Result<std::vector<proto::ProcessEntry>> AdminClient::list_processes() {
  proto::Request request;
  request.mutable_list_processes();
  auto answer = ask(request);
  if (!answer) return tl::make_unexpected(std::move(answer.error()));
  if (!answer->has_processes()) return unexpected_answer();
  const auto& processes = answer->processes().processes();
  return std::vector<proto::ProcessEntry>(processes.begin(), processes.end());
}

Result<proto::MigrationInfo> AdminClient::migrate(const proto::MigrateRequest& migrate) {
  proto::Request request;
  *request.mutable_migrate() = migrate;
  auto answer = ask(request);
  if (!answer) return tl::make_unexpected(std::move(answer.error()));
  if (!answer->has_migration()) return unexpected_answer();
  return answer->migration();
}

Result<proto::DrainReply> AdminClient::drain(std::string_view node) {
  proto::Request request;
  request.mutable_drain()->set_node(std::string(node));
  auto answer = ask(request);
  if (!answer) return tl::make_unexpected(std::move(answer.error()));
  if (!answer->has_drain()) return unexpected_answer();
  return answer->drain();
}

Result<std::vector<proto::MigrationInfo>> AdminClient::ask_migrations(proto::Request& request) {
  auto answer = ask(request);
  if (!answer) return tl::make_unexpected(std::move(answer.error()));
  if (!answer->has_migrations()) return unexpected_answer();
  const auto& moves = answer->migrations().migrations();
  return std::vector<proto::MigrationInfo>(moves.begin(), moves.end());
}

Result<std::vector<proto::MigrationInfo>> AdminClient::list_migrations(std::uint32_t past) {
  proto::Request request;
  request.mutable_list_migrations()->set_past(past);
  return ask_migrations(request);
}

Result<proto::MigrationInfo> AdminClient::migration(std::uint64_t id) {
  proto::Request request;
  request.mutable_list_migrations()->set_id(id);
  auto moves = ask_migrations(request);
  if (!moves) return tl::make_unexpected(std::move(moves.error()));
  if (moves->size() != 1) return unexpected_answer();
  return std::move(moves->front());
}

Result<void> AdminClient::abort_migration(std::uint64_t id) {
  proto::Request request;
  request.mutable_abort_migration()->set_id(id);
  auto answer = ask(request);
  if (!answer) return tl::make_unexpected(std::move(answer.error()));
  return {};
}

}  // namespace godwit::node
