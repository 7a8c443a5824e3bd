// PerfServer: the side of `godwit perf` that answers. Owner: the command's action; one thread.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <stop_token>
#include <vector>

#include "cli/perf_protocol.h"
#include "godwit/endpoint.h"
#include "godwit/error.h"

namespace godwit::node::cli {

class PerfServer {
 public:
  struct Totals {
    std::uint64_t requests = 0;
    std::uint64_t messages = 0;
    std::uint64_t clients = 0;
  };

  /// `endpoint` outlives the server.
  explicit PerfServer(Endpoint& endpoint) : endpoint_(endpoint) {}

  /// Serves until the stop; ok then. Any other end is an error.
  Result<void> run(const std::stop_token& stop);
  const Totals& totals() const { return totals_; }

 private:
  // What one client has begun.
  struct Session {
    Remote remote;
    bool streaming = false;
    std::uint64_t messages = 0;
    std::uint64_t bytes = 0;
    std::uint64_t next_number = 0;
    std::uint64_t out_of_order = 0;
    std::vector<std::byte> memory;  // granted
    std::optional<GrantRef> grant;
  };

  Session* session_of(EndpointId client);
  void on_message(const Message& message);
  Result<void> on_request(Request request);
  perf::Answer control(Session& session, EndpointId client, const perf::Control& control);
  Result<GrantRef> open_copy(Session& session, EndpointId client, std::uint64_t size);
  void close_copy(Session& session);
  void forget_the_dead();

  Endpoint& endpoint_;
  std::map<EndpointId, Session> sessions_;
  EndpointId last_client_;  // most messages come from the same one as the last
  Session* last_session_ = nullptr;
  Totals totals_;
};

}  // namespace godwit::node::cli
