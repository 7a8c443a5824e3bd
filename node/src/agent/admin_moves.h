// AdminMoves: answers what the command line asks about moves.
//
// Owner: the Agent. Loop's thread.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "agent/planner.h"
#include "agent/session_server.h"

namespace godwit::node {

class AdminMoves {
 public:
  AdminMoves(EventLoop& loop, coord::Moves& moves, SessionServer& sessions, DcTable& dcs,
             Planner& planner, std::string node);

  /// False: it is no request about moves.
  bool handle(const Session& session, const endpoints::proto::Request& request,
              coord::Deadline deadline);

 private:
  struct Asker {
    SessionNumber session;
    std::uint64_t number;
  };
  struct Listing {
    Asker asker;
    coord::Deadline deadline;
    std::vector<coord::MoveEntry> moves;
    std::size_t next = 0;
    endpoints::proto::MigrationList list;
  };
  using ListingPtr = std::shared_ptr<Listing>;

  void list(const Asker& asker, const endpoints::proto::ListMigrationsRequest& request,
            coord::Deadline deadline);
  void list_past(const ListingPtr& listing, std::size_t limit);
  void describe(const ListingPtr& listing);
  void abort(const Asker& asker, std::uint64_t id, coord::Deadline deadline);
  void answer(const Asker& asker, endpoints::proto::Response& response);
  void refuse(const Asker& asker, const Error& error);

  EventLoop& loop_;
  coord::Moves& moves_;
  SessionServer& sessions_;
  DcTable& dcs_;
  Planner& planner_;
  const std::string node_;
  Lifetime lifetime_;
};

}  // namespace godwit::node
