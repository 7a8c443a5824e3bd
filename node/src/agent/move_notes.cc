// MoveDriver: what it notes in the record for people: how far the copy is, how long steps took.
#include "agent/move_driver.h"

namespace godwit::node {

namespace {
using namespace std::chrono_literals;
constexpr auto kWriteLimit = 10s;
// Each note wakes both agents' watches.
constexpr auto kProgressInterval = 250ms;
}  // namespace

// Best effort: the version read last may be old already, then the next note is written.
void MoveDriver::write_progress() {
  const bool copying =
      !reading_.ended && record().state() == coord::proto::MigrationRecord::PREPARED;
  if (!has_read_ || !copying || writing_ || writing_progress_ || progress_timer_ != 0) return;
  progress_timer_ = parts_.loop.after(kProgressInterval, [this] {
    progress_timer_ = 0;
    const bool still =
        !reading_.ended && record().state() == coord::proto::MigrationRecord::PREPARED;
    if (!still || writing_ || writing_progress_ || finished_) return;
    writing_progress_ = true;
    coord::MoveEntry entry = reading_.entry;
    *entry.record.mutable_progress() = progress_;
    // The watch on the record brings what was written back as a reading.
    parts_.moves.update(
        std::move(entry), coord::after(kWriteLimit),
        on_loop<coord::MoveEntry>(parts_.loop, lifetime_, [this](coord::Result<coord::MoveEntry>) {
          writing_progress_ = false;
        }));
  });
}

void MoveDriver::save_times() {
  if (times_.ByteSizeLong() == 0) return;
  hooks_.note_times(id(), std::exchange(times_, {}));
}

}  // namespace godwit::node
