// MoveWriter: carries out one write of a move's state machine until its outcome is known.
//
// A write whose answer did not come is not guessed at: the move is read again, and if it does not
// show the write, that is issued again at the versions just read. What did not happen is answered
// with what was read since; the machine decides anew.
//
// Owner: the Mover. Loop's thread.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "agent/move_reader.h"

namespace godwit::node {

/// What a write says beside the state.
struct MoveWrite {
  migrate::Write write = migrate::Write::none;
  coord::proto::MigrationDock dock;           // prepared
  migrate::ProcessId process = 0;             // prepared
  coord::proto::MigrationProgress progress;   // intent
  coord::proto::Owner owner;                  // commit
  std::vector<std::string> engine_addresses;  // commit
  std::string reason, by;                     // abort
  coord::proto::MigrationTimes times;         // commit, abort
};

class MoveWriter {
 public:
  struct Settled {
    MoveReading reading;      // what it wrote, or what was read since
    bool done = false;        // it was written, by this very call
    bool fenced = false;      // the target's agent of the record is not registered
    bool impossible = false;  // the directory refuses it for ever; `why`
    std::string why;
    std::chrono::microseconds took{};
  };
  using Done = std::function<void(Settled)>;

  MoveWriter(EventLoop& loop, coord::Moves& moves, MoveReader& reader)
      : loop_(loop), moves_(moves), reader_(reader) {}

  /// `from`: the reading that the machine decided by.
  void write(MoveWrite write, MoveReading from, Done done);

 private:
  struct Job {
    MoveWrite write;
    Settled settled;
    Done done;
    bool uncertain = false;  // an issue of it may have happened, or happen yet
    bool unchecked = false;  // a planted fault: fault_points.h
    Clock::time_point started;
  };
  using JobPtr = std::shared_ptr<Job>;

  void issue(const JobPtr& job);
  void issue_prepared(const JobPtr& job);
  void answered(const JobPtr& job, coord::Result<coord::Move> result);
  void look(const JobPtr& job);
  void look_later(const JobPtr& job, std::chrono::milliseconds pause);

  EventLoop& loop_;
  coord::Moves& moves_;
  MoveReader& reader_;
  Lifetime lifetime_;
};

}  // namespace godwit::node
