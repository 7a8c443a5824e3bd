// MoveDriver: what a move's end changes in this node's tables: whose endpoints the members are.
#include <utility>

#include "agent/move_driver.h"

namespace godwit::node {

// This node's tables follow the directory before any process is told.
void MoveDriver::ended() {
  for (const coord::EndpointEntry& member : reading_.members) {
    parts_.cache.saw(make_known(record().dc(), member.record));
  }
  source_ ? give_up_members() : adopt_members();
}

void MoveDriver::give_up_members() {
  Process* former = parts_.processes.find(process());
  if (former == nullptr) return;
  for (const coord::EndpointEntry& member : reading_.members) {
    const Known known = make_known(record().dc(), member.record);
    const auto held = former->held.find(known->id());
    if (held == former->held.end()) continue;
    if (member.record.owner().process() == former->number) {
      held->second.endpoint = known;
    } else {
      former->held.erase(held);
    }
  }
}

void MoveDriver::adopt_members() {
  if (!granted()) return;
  Process* owner = parts_.processes.find(process());
  // One that is neither attached nor lost may come back.
  if (owner == nullptr && lost_ != process()) return;
  if (std::exchange(adopted_, true)) return;
  for (const coord::EndpointEntry& member : reading_.members) {
    if (member.record.owner().process() != process()) continue;
    const Known known = make_known(record().dc(), member.record);
    if (owner == nullptr) {
      parts_.reaper.add(known->dc, known->id(), process(), Reaper::End::dead);
      continue;
    }
    HeldEndpoint& held = owner->held[known->id()];
    held.endpoint = known;
    // It has the endpoint, though it does not say so before it is granted.
    held.delivered = true;
    // Committed by a former agent of this node.
    if (member.record.owner().node_incarnation() != parts_.incarnation) {
      parts_.claims.confirm_again(process(), known->id());
    }
  }
}

}  // namespace godwit::node
