// Admin: answers what the command line asks of an agent.
//
// Owner: the Agent. Loop's thread.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "agent/dc_keys.h"
#include "agent/dc_table.h"
#include "agent/node_table.h"
#include "agent/process_table.h"
#include "agent/session_server.h"

namespace godwit::node {

class Admin {
 public:
  using Status = std::function<endpoints::proto::AgentStatus()>;

  Admin(EventLoop& loop, coord::Directory& directory, SessionServer& sessions, NodeTable& nodes,
        DcTable& dcs, const DcKeys& keys, ProcessTable& processes, std::string node, Status status);

  /// False: it is no administrative request.
  bool handle(const Session& session, const endpoints::proto::Request& request,
              coord::Deadline deadline);
  void session_closed(SessionNumber session) { listings_.erase(session); }

  /// Makes a DC and its key, or checks that this node has the key of the one that is there.
  using Made = std::function<void(Result<endpoints::proto::DcInfo>)>;
  void create_dc(const endpoints::proto::CreateDcRequest& request, bool may_exist,
                 coord::Deadline deadline, Made done);

 private:
  struct Listing {
    std::vector<endpoints::proto::EndpointInfo> endpoints;
    std::size_t next = 0;
    std::uint64_t cursor = 0;
  };
  struct Asker {
    SessionNumber session;
    std::uint64_t number;
  };

  void list_nodes(const Asker& asker, coord::Deadline deadline);
  void list_dcs(const Asker& asker, coord::Deadline deadline);
  void remove_dc(const Asker& asker, const std::string& name, coord::Deadline deadline);
  void export_key(const Asker& asker, const std::string& dc);
  void import_key(const Asker& asker, const endpoints::proto::ImportKeyRequest& request,
                  coord::Deadline deadline);
  void list_endpoints(const Asker& asker, const endpoints::proto::ListEndpointsRequest& request,
                      coord::Deadline deadline);
  void collect(const Asker& asker, endpoints::proto::ListEndpointsRequest request,
               coord::Deadline deadline, std::vector<std::string> dcs,
               std::shared_ptr<Listing> listing);
  void send_page(const Asker& asker, std::uint32_t page_size, Listing& listing);
  void list_processes(const Asker& asker);
  endpoints::proto::DcInfo info_of(const coord::proto::DcRecord& record) const;
  void answer(const Asker& asker, endpoints::proto::Response& response);
  void refuse(const Asker& asker, const Error& error);

  EventLoop& loop_;
  coord::Directory& directory_;
  SessionServer& sessions_;
  NodeTable& nodes_;
  DcTable& dcs_;
  const DcKeys& keys_;
  ProcessTable& processes_;
  const std::string node_;
  const Status status_;
  std::unordered_map<SessionNumber, std::shared_ptr<Listing>> listings_;
  std::uint64_t next_cursor_ = 1;
  Lifetime lifetime_;
};

}  // namespace godwit::node
