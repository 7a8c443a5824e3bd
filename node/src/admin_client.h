// AdminClient: one administrative connection to an agent, for command lines and tests.
//
// Owner: whoever asks. One thread at a time; each call blocks until the answer or its deadline.
// After an agent_unavailable, protocol_error or deadline_exceeded the connection is closed: make a
// new one.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "godwit/agent_protocol.h"
#include "godwit/endpoints/agent.pb.h"
#include "godwit/error.h"

namespace godwit::node {

class AdminClient {
 public:
  /// `runtime_directory` empty: default_runtime_directory(). Errors: agent_unavailable (with what
  /// to do), permission_denied, version_mismatch.
  static Result<AdminClient> connect(std::string runtime_directory = {},
                                     std::chrono::milliseconds timeout = std::chrono::seconds(5));
  AdminClient(AdminClient&& other) noexcept;
  AdminClient& operator=(AdminClient&& other) noexcept;
  ~AdminClient();

  /// Of the agent: node, incarnation, runtime directory.
  const endpoints::proto::HelloReply& hello() const { return hello_; }

  Result<endpoints::proto::AgentStatus> status();
  Result<std::vector<endpoints::proto::NodeInfo>> list_nodes();
  Result<std::vector<endpoints::proto::DcInfo>> list_dcs();
  /// Makes the DC and its key, which stays on the agent's node until it is exported. Errors:
  /// name_taken, invalid_argument.
  Result<endpoints::proto::DcInfo> create_dc(const endpoints::proto::CreateDcRequest& request);
  /// Errors: not_found, invalid_argument (endpoints are bound in it).
  Result<void> remove_dc(std::string_view name);
  /// 64 hexadecimal digits, a secret. Errors: not_found.
  Result<std::string> export_key(std::string_view dc);
  /// Errors: not_found (no such DC), wrong_key (it has another key), invalid_argument.
  Result<endpoints::proto::DcInfo> import_key(std::string_view dc, std::string_view key);
  /// Calls `each` for every endpoint that `filter` lets through, in the order of DC and slot, page
  /// by page; `each` ends it early by returning false. filter.cursor is ignored.
  Result<void> list_endpoints(
      endpoints::proto::ListEndpointsRequest filter,
      const std::function<bool(const endpoints::proto::EndpointInfo&)>& each);
  /// The processes attached to this agent.
  Result<std::vector<endpoints::proto::ProcessEntry>> list_processes();

  /// Plans the move of an endpoint and of those that are served with it; migration() tells how it
  /// goes on. Errors: not_found, invalid_argument, too_large, each with what to do.
  Result<endpoints::proto::MigrationInfo> migrate(const endpoints::proto::MigrateRequest& request);
  /// Plans moves of all that can leave the node (the agent's, if empty).
  Result<endpoints::proto::DrainReply> drain(std::string_view node);
  /// The moves under way, and the `past` newest that have ended.
  Result<std::vector<endpoints::proto::MigrationInfo>> list_migrations(std::uint32_t past = 0);
  /// Errors: not_found.
  Result<endpoints::proto::MigrationInfo> migration(std::uint64_t id);
  /// Gives a move up. Errors: not_found, invalid_argument (it has ended).
  Result<void> abort_migration(std::uint64_t id);

 private:
  AdminClient(int fd, std::chrono::milliseconds timeout) : fd_(fd), timeout_(timeout) {}
  Result<endpoints::proto::Response> ask(endpoints::proto::Request& request);
  Result<std::vector<endpoints::proto::MigrationInfo>> ask_migrations(
      endpoints::proto::Request& request);
  void close() noexcept;

  int fd_;
  std::chrono::milliseconds timeout_;
  std::uint64_t next_number_ = 1;
  agent_protocol::MessageReader reader_;
  endpoints::proto::HelloReply hello_;
};

}  // namespace godwit::node
