// FaultPlay: plays one fault case on a stage: lays the faults out, begins the move, and repairs
// what they broke when their time is over.
//
// One object per case. One thread.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "fault_case.h"
#include "fault_stage.h"

namespace moves {

class FaultPlay {
 public:
  /// `from`: where the bank is; `to`: where it is to go; `beside`: the third node.
  FaultPlay(FaultStage& stage, const FaultCase& fault_case, std::string from, std::string to,
            std::string beside);

  /// Returns when all faults have happened and all is repaired; when the move is over, if there is
  /// none. Errors: not_found (a point was never reached), those of the stage.
  Result<void> run();

 private:
  struct Scheduled {
    Fault fault;
    std::string file;  // of the point
    bool fired = false;
    bool repaired = false;
    Clock::time_point repair_at{};
  };

  std::string node_of(Part part) const;
  bool is_process(Part part) const;
  Result<void> lay_out(Scheduled& one);
  Result<void> fire(Scheduled& one);
  Result<void> repair(Scheduled& one);
  Result<void> act(Deed deed);
  Result<void> undo(Deed deed);
  Result<void> for_node(const std::string& node, bool kills);
  void break_directory(Deed deed);
  Result<void> mend_directory();
  std::string asked() const;

  FaultStage& stage_;
  const FaultCase& case_;
  const std::string from_, to_, beside_;
  const std::chrono::milliseconds reach_limit_;
  std::vector<Scheduled> faults_;
};

}  // namespace moves
