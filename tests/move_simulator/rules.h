// Rules: what the drivers of a move and the directory must keep to. A planted fault breaks exactly
// one of them, at the seam to the core, to prove that the simulator would see it.
#pragma once

#include <array>
#include <string_view>

namespace godwit::move_simulator {

struct Rules {
  bool commit_checks_versions = true;  // a commit expects the members at the versions of MOVING
  bool commit_checks_agent = true;     // and its own agent registered as at the plan
  bool resume_by_record = true;        // the source resumes when the record says so, not before
  bool completions_move = true;        // which requests were executed moves with the state
  bool grant_before_gate = true;       // the target's gate waits for `go`
  bool abort_raises_epoch = true;      // after MOVING
  bool intent_before_close = true;     // the source closes when MOVING is written
  bool lost_commit_stays_shut = true;  // a commit that lost the race grants nothing
  bool push_names_move = true;         // a push of another move changes nothing
  bool inbox_unacknowledged = true;    // a shut gate acknowledges nothing of the inbox
  bool manifest_checked = true;        // a state that is not whole is refused
  bool outcome_awaited = true;         // a write without an answer is issued again, not guessed
  bool first_reading_fresh = true;     // an agent that starts reads behind a sync
  bool told_again = true;              // a process that attaches again says where it is
  bool quiet_awaited = true;           // the rest is sent when no taken request runs any more
  bool dead_move_swept = true;         // others end a move that lost both its nodes
};

struct Fault {
  std::string_view name;
  bool Rules::*rule;
};

inline constexpr std::array kFaults = {
    Fault{"commit-any-version", &Rules::commit_checks_versions},
    Fault{"commit-unregistered", &Rules::commit_checks_agent},
    Fault{"resume-unwritten", &Rules::resume_by_record},
    Fault{"forget-completions", &Rules::completions_move},
    Fault{"gate-before-grant", &Rules::grant_before_gate},
    Fault{"abort-keeps-epoch", &Rules::abort_raises_epoch},
    Fault{"close-before-intent", &Rules::intent_before_close},
    Fault{"serve-though-lost", &Rules::lost_commit_stays_shut},
    Fault{"push-of-any-move", &Rules::push_names_move},
    Fault{"acknowledge-inbox", &Rules::inbox_unacknowledged},
    Fault{"manifest-unchecked", &Rules::manifest_checked},
    Fault{"guess-outcome", &Rules::outcome_awaited},
    Fault{"start-with-old-reading", &Rules::first_reading_fresh},
    Fault{"silent-attach", &Rules::told_again},
    Fault{"not-quiet", &Rules::quiet_awaited},
    Fault{"no-sweep", &Rules::dead_move_swept},
};

}  // namespace godwit::move_simulator
