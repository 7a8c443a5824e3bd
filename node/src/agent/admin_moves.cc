#include "agent/admin_moves.h"

#include <algorithm>
#include <utility>

#include "agent/errors.h"
#include "agent/move_view.h"

namespace godwit::node {

namespace {
namespace proto = endpoints::proto;

Error no_such_move(std::uint64_t id) {
  return {Errc::not_found,
          "there is no move " + coord::format_move_id(id) +
              ": 'godwit migrations --past 20' shows those that there were",
          {}};
}

}  // namespace

AdminMoves::AdminMoves(EventLoop& loop, coord::Moves& moves, SessionServer& sessions, DcTable& dcs,
                       Planner& planner, std::string node)
    : loop_(loop),
      moves_(moves),
      sessions_(sessions),
      dcs_(dcs),
      planner_(planner),
      node_(std::move(node)) {}

bool AdminMoves::handle(const Session& session, const proto::Request& request,
                        coord::Deadline deadline) {
  const Asker asker{session.number, request.number()};
  switch (request.body_case()) {
    case proto::Request::kMigrate:
      planner_.plan(request.migrate(), deadline, [this, asker](Result<proto::MigrationInfo> move) {
        if (!move) return refuse(asker, move.error());
        proto::Response response;
        *response.mutable_migration() = std::move(*move);
        answer(asker, response);
      });
      return true;
    case proto::Request::kDrain:
      planner_.drain(request.drain().node(), deadline,
                     [this, asker](Result<proto::DrainReply> drained) {
                       if (!drained) return refuse(asker, drained.error());
                       proto::Response response;
                       *response.mutable_drain() = std::move(*drained);
                       answer(asker, response);
                     });
      return true;
    case proto::Request::kListMigrations:
      list(asker, request.list_migrations(), deadline);
      return true;
    case proto::Request::kAbortMigration:
      abort(asker, request.abort_migration().id(), deadline);
      return true;
    default:
      return false;
  }
}

void AdminMoves::answer(const Asker& asker, proto::Response& response) {
  response.set_number(asker.number);
  sessions_.send(asker.session, response);
}

void AdminMoves::refuse(const Asker& asker, const Error& error) {
  proto::Response response;
  *response.mutable_failure() = to_failure(error);
  answer(asker, response);
}

void AdminMoves::list(const Asker& asker, const proto::ListMigrationsRequest& request,
                      coord::Deadline deadline) {
  auto listing = std::make_shared<Listing>();
  listing->asker = asker;
  listing->deadline = deadline;
  if (request.id() != 0) {
    return moves_.get(
        request.id(), deadline,
        on_loop<coord::MoveEntry>(
            loop_, lifetime_,
            [this, listing, id = request.id()](coord::Result<coord::MoveEntry> entry) {
              if (!entry) {
                return refuse(listing->asker, entry.error().code == coord::Errc::no_node
                                                  ? no_such_move(id)
                                                  : to_error(entry.error()));
              }
              listing->moves.push_back(std::move(*entry));
              describe(listing);
            }));
  }
  moves_.list_active(
      deadline,
      on_loop<std::vector<coord::MoveEntry>>(
          loop_, lifetime_,
          [this, listing, limit = std::min<std::size_t>(request.past(), coord::kPastMoves)](
              coord::Result<std::vector<coord::MoveEntry>> active) {
            if (!active) return refuse(listing->asker, to_error(active.error()));
            listing->moves = std::move(*active);
            limit == 0 ? describe(listing) : list_past(listing, limit);
          }));
}

void AdminMoves::list_past(const ListingPtr& listing, std::size_t limit) {
  moves_.list_past(
      limit, listing->deadline,
      on_loop<std::vector<coord::MoveEntry>>(
          loop_, lifetime_, [this, listing](coord::Result<std::vector<coord::MoveEntry>> past) {
            if (!past) return refuse(listing->asker, to_error(past.error()));
            for (coord::MoveEntry& entry : *past) {
              // One that ended between the two readings stands in both.
              std::erase_if(listing->moves, [&](const coord::MoveEntry& each) {
                return each.record.id() == entry.record.id();
              });
              listing->moves.push_back(std::move(entry));
            }
            describe(listing);
          }));
}

// The record has the name of its DC; ids have its number.
void AdminMoves::describe(const ListingPtr& listing) {
  if (listing->next == listing->moves.size()) {
    proto::Response response;
    *response.mutable_migrations() = std::move(listing->list);
    return answer(listing->asker, response);
  }
  const std::string dc = listing->moves[listing->next].record.dc();
  dcs_.find(dc, listing->deadline, [this, listing](const Result<std::shared_ptr<const Dc>>& found) {
    // A DC that was removed since has no number any more.
    const auto& record = listing->moves[listing->next++].record;
    *listing->list.add_migrations() = info_of(record, found ? (*found)->id : 0);
    describe(listing);
  });
}

void AdminMoves::abort(const Asker& asker, std::uint64_t id, coord::Deadline deadline) {
  moves_.abort(
      id, {"given up by hand at node " + node_, node_, {}}, deadline,
      on_loop<coord::Move>(
          loop_, lifetime_, [this, asker, id, deadline](coord::Result<coord::Move> move) {
            if (move) {
              proto::Response response;
              response.mutable_done();
              return answer(asker, response);
            }
            if (move.error().code != coord::Errc::no_node) {
              return refuse(asker, to_error(move.error()));
            }
            moves_.get(
                id, deadline,
                on_loop<coord::MoveEntry>(
                    loop_, lifetime_, [this, asker, id](coord::Result<coord::MoveEntry> entry) {
                      if (!entry) return refuse(asker, no_such_move(id));
                      refuse(asker, {Errc::invalid_argument,
                                     "move " + coord::format_move_id(id) + " has ended: it was " +
                                         info_of(entry->record, 0).state(),
                                     {}});
                    }));
          }));
}

}  // namespace godwit::node
