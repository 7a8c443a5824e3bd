// A process that takes part in a store and holds an ephemeral record, to be killed,
// stopped and continued by a test.
//
// Owner: a test. Made before the test has threads, since it forks; it opens its
// coordinator only when told to by start().
#pragma once

#include "coord/backend.h"

#include <functional>
#include <memory>
#include <string>

#include <sys/types.h>

namespace godwit::coord {

class ParticipantProcess {
 public:
  // What it does when started: `act` gets a coordinator, once connected, and a way to
  // report a character; then it sleeps until it is killed. Session events are reported
  // as 'c', 'd' and 'x' (expired).
  using Report = std::function<void(char)>;
  using Act = std::function<void(Coordinator& coordinator, const Report& report)>;
  ParticipantProcess(Backend& backend, Act act);
  ParticipantProcess(const ParticipantProcess&) = delete;
  ParticipantProcess& operator=(const ParticipantProcess&) = delete;
  ~ParticipantProcess();

  void start();
  // Reads reports until this one. False when it did not come in time.
  bool wait_report(char report);
  void signal(int number);
  void kill_and_wait();

 private:
  pid_t pid_ = -1;
  int orders_ = -1;   // to it
  int reports_ = -1;  // from it
};

}  // namespace godwit::coord
