// Rules: what the driver of a channel must keep to. A planted fault breaks exactly one of them, at
// the seam between driver and core, to prove that the simulator would see it.
#pragma once

#include <array>
#include <string_view>

namespace godwit::simulator {

struct Rules {
  bool duplicate_filter = true;      // a frame that the core calls a duplicate is dropped
  bool ack_after_receive = true;     // only what the application took is acknowledged
  bool epoch_check = true;           // a lower epoch than known is refused
  bool session_tie = true;           // one of two ends that start a session at once yields
  bool retention = true;             // a frame is kept until it is acknowledged
  bool session_connection = true;    // frames count on the connection of the session only
  bool gate = true;                  // a copy at an old place executes nothing
  bool grant = true;                 // a copy at a new place executes nothing before it is granted
  bool cancel_checks_sent = true;    // "not executed" only if the request was never transmitted
  bool inbox_counts = true;          // what moves of the inbox need not be sent again
  bool probe = true;                 // silence is probed
  bool notification_numbers = true;  // a notification that comes again is dropped
};

struct Fault {
  std::string_view name;
  bool Rules::*rule;
};

inline constexpr std::array kFaults = {
    Fault{"no-duplicate-filter", &Rules::duplicate_filter},
    Fault{"ack-before-receive", &Rules::ack_after_receive},
    Fault{"no-epoch-check", &Rules::epoch_check},
    Fault{"no-session-tie", &Rules::session_tie},
    Fault{"forget-retention", &Rules::retention},
    Fault{"accept-any-connection", &Rules::session_connection},
    Fault{"old-place-executes", &Rules::gate},
    Fault{"arrival-executes", &Rules::grant},
    Fault{"careless-not-executed", &Rules::cancel_checks_sent},
    Fault{"inbox-not-counted", &Rules::inbox_counts},
    Fault{"no-probe", &Rules::probe},
    Fault{"notification-again", &Rules::notification_numbers},
};

}  // namespace godwit::simulator
