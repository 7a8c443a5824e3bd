// Fault points: places in a move where a test can end, stop or hold the process, and rules that a
// test can break, so that it is proved that moves survive the one and that tests see the other.
//
// They exist only in a build with GODWIT_FAULT_POINTS (CMake's option of that name; the presets
// have it on), and do something only for a test that asks by the environment. None is on a path
// that a message takes. The points, by who passes them:
//
//   agent            write.WRITE.before  plan, prepared, intent, commit, abort
//                    write.WRITE.after   answered, and nothing done yet because of it
//                    push.PUSH           out, close, resume, gone, in, go, drop: before it is sent
//   source process   order.PUSH          out, close, resume, gone: before it is carried out
//                    report.REPORT       converged, over, cannot: before it is sent
//                    copy.round          before the first slice of the copy
//                    rest.half           the gate is shut, all of the rest but its end is sent
//                    rest.sent           all of it
//                    gate.opened         again, after a move that was given up
//   target process   order.PUSH          in, go, drop
//                    report.REPORT       docked, restored, over, cannot
//                    state.loaded        all has arrived; nothing is installed
//                    gate.opened         it serves
//
// Any thread.
#pragma once

#include <string_view>

namespace godwit::migrate {

#ifdef GODWIT_FAULT_POINTS

/// The point's name is `step`, or `step.what`, or `step.what.when`, in small letters. If the folder
/// $GODWIT_FAULT_FOLDER has a file of that name, it is renamed to NAME.fired (so it happens once),
/// and done is what it says:
///   kill   SIGKILL to this process
///   stop   SIGSTOP to this process: all its threads, until somebody continues it
///   hold   the calling thread waits for a file NAME.go, at most a minute
void fault_point(std::string_view step, std::string_view what = {}, std::string_view when = {});

/// Whether a rule is to be broken: $GODWIT_PLANTED_FAULT is its name. Each is described where it is
/// planted:
///   commit-unchecked      the commit is written whatever has happened since
///   grant-before-commit   the target's process is told to serve before the commit is written
///   resume-old-copy       a process whose endpoints are gone opens its gate and serves
///   duplicates-not-moved  the image of an endpoint lacks what it had answered last
bool planted(std::string_view fault);

#else

inline void fault_point(std::string_view, std::string_view = {}, std::string_view = {}) noexcept {}
constexpr bool planted(std::string_view) noexcept {
  return false;
}

#endif

}  // namespace godwit::migrate
