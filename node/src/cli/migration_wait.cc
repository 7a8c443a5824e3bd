#include "cli/migration_wait.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "cli/migration_view.h"
#include "cli/output.h"
#include "cli/screen.h"
#include "cli/units.h"

namespace godwit::node::cli {
namespace {

using namespace std::chrono_literals;
using endpoints::proto::MigrationInfo;

constexpr auto kInterval = 50ms;
// The processes tell how long the blackout was only after the end.
constexpr auto kTimesLimit = 1s;

bool is_told(const MigrationInfo& move) {
  return !was_committed(move) ||
         (move.times().blackout_us() > 0 && move.times().target_blackout_us() > 0);
}

}  // namespace

Result<MigrationWait> MigrationWait::create(std::chrono::nanoseconds timeout, bool live) {
  auto ticker = Ticker::create(kInterval, false);
  if (!ticker) return tl::make_unexpected(std::move(ticker.error()));
  return MigrationWait(std::move(*ticker), timeout, live && ::isatty(STDOUT_FILENO) != 0);
}

Result<void> MigrationWait::until_ended(AdminClient& agent, std::vector<MigrationInfo>& moves) {
  const auto started = Clock::now();
  Clock::time_point ended{};
  while (true) {
    if (auto looked = look(agent, moves); !looked) {
      clear();
      return looked;
    }
    if (std::all_of(moves.begin(), moves.end(), has_ended)) {
      if (ended == Clock::time_point()) ended = Clock::now();
      const bool told = std::all_of(moves.begin(), moves.end(), is_told);
      if (told || Clock::now() >= ended + kTimesLimit) {
        clear();
        return {};
      }
    }
    show(moves);
    if (timeout_.count() > 0 && Clock::now() >= started + timeout_) {
      clear();
      return fail(Errc::deadline_exceeded,
                  "the time given had passed; the move goes on: 'godwit migrations' shows it");
    }
    if (ticker_.wait() == Ticker::Event::stop) {
      clear();
      return fail(Errc::cancelled, "interrupted; the move goes on: 'godwit migrations' shows it");
    }
  }
}

Result<void> MigrationWait::look(AdminClient& agent, std::vector<MigrationInfo>& moves) {
  for (MigrationInfo& move : moves) {
    if (has_ended(move) && is_told(move)) continue;
    auto now = agent.migration(move.id());
    if (!now) return tl::make_unexpected(std::move(now.error()));
    move = std::move(*now);
  }
  return {};
}

void MigrationWait::show(const std::vector<MigrationInfo>& moves) {
  if (!live_) return;
  const auto open = std::find_if_not(moves.begin(), moves.end(), has_ended);
  if (open == moves.end()) return;
  const auto left =
      std::count_if(open, moves.end(), [](const auto& each) { return !has_ended(each); });
  std::string line = subject_of(*open) + " to " + open->target_node() + ": " + progress_of(*open);
  if (left > 1) line += " (" + std::to_string(left - 1) + " more under way)";
  winsize size{};
  if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) size.ws_col = 80;
  // The last column would make the terminal go to the next line.
  line = printable(line);
  print("\r\x1b[K" + std::string(cut(line, size.ws_col - 1u)), true);
  shown_ = true;
}

void MigrationWait::clear() {
  if (std::exchange(shown_, false)) print("\r\x1b[K", true);
}

}  // namespace godwit::node::cli
