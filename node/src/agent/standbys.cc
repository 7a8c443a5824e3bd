#include "agent/standbys.h"

namespace godwit::node {

void Standbys::add(std::uint64_t process, const std::string& program, std::uint64_t move) {
  standbys_[process] = {program, move};
}

std::optional<std::uint64_t> Standbys::take(
    const std::string& program, std::uint64_t move,
    const std::function<bool(std::uint64_t process)>& usable) {
  for (const std::uint64_t wanted : {move, std::uint64_t{0}}) {
    for (const auto& [process, standby] : standbys_) {
      if (standby.move != wanted || standby.program != program || !usable(process)) continue;
      const std::uint64_t taken = process;
      standbys_.erase(taken);
      return taken;
    }
  }
  return std::nullopt;
}

std::set<std::uint64_t> Standbys::take_started_for(std::uint64_t move) {
  std::set<std::uint64_t> taken;
  std::erase_if(standbys_, [&](const auto& each) {
    if (each.second.move != move) return false;
    taken.insert(each.first);
    return true;
  });
  return taken;
}

std::set<std::uint64_t> Standbys::moves() const {
  std::set<std::uint64_t> moves;
  for (const auto& [process, standby] : standbys_) {
    if (standby.move != 0) moves.insert(standby.move);
  }
  return moves;
}

std::set<std::string> Standbys::programs() const {
  std::set<std::string> programs;
  for (const auto& [process, standby] : standbys_) {
    if (standby.move == 0) programs.insert(standby.program);
  }
  return programs;
}

}  // namespace godwit::node
