// MigrationWait: waits until moves have ended, and shows on a terminal how far they are.
//
// Owner: a command's action, on its thread; make it before other threads, it takes the signals.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "admin_client.h"
#include "cli/ticker.h"

namespace godwit::node::cli {

class MigrationWait {
 public:
  /// `live`: on a terminal, a line that is written over. `timeout` 0: for as long as it takes.
  static Result<MigrationWait> create(std::chrono::nanoseconds timeout, bool live);

  /// Until all have ended, and have told how long they took or had time to. Errors: cancelled
  /// (Ctrl-C), deadline_exceeded: the moves go on, and `moves` is as it was seen last.
  Result<void> until_ended(AdminClient& agent, std::vector<endpoints::proto::MigrationInfo>& moves);

 private:
  using Clock = std::chrono::steady_clock;

  MigrationWait(Ticker ticker, std::chrono::nanoseconds timeout, bool live)
      : ticker_(std::move(ticker)), timeout_(timeout), live_(live) {}
  Result<void> look(AdminClient& agent, std::vector<endpoints::proto::MigrationInfo>& moves);
  void show(const std::vector<endpoints::proto::MigrationInfo>& moves);
  void clear();

  Ticker ticker_;
  std::chrono::nanoseconds timeout_;
  bool live_;
  bool shown_ = false;
};

}  // namespace godwit::node::cli
