// The working of Directory. Each public operation is a Flow in directory_*.cc; the
// helpers they share are members here.
//
// Owner: Directory and the flows under way, which each hold it. State (DcState): the
// callback thread only; flows that use it first go there by on_thread().
#pragma once

#include <godwit/coord/directory.h>

#include "directory_records.h"
#include "flow.h"

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace godwit::coord {

class Directory::Impl : public std::enable_shared_from_this<Impl> {
 public:
  Impl(Coordinator& over, std::string root) : coordinator(over), paths(std::move(root)) {}

  // A slot to bind, with its record if it was bound before.
  struct FreeSlot {
    std::uint32_t slot = 0;
    std::optional<EndpointEntry> last;
  };
  struct DcState {
    std::optional<DcEntry> entry;  // as last read; a bind checks that it still is so
    std::deque<FreeSlot> free;
    std::vector<Callback<FreeSlot>> waiting;  // for the block that is being reserved
    bool reserving = false;
  };

  // --- Steps.
  Step<bool> on_thread();
  Step<Record> get(std::string path, Deadline deadline, Watcher watcher = {});
  Step<Children> list(std::string path, Deadline deadline, Watcher watcher = {});
  Step<Stat> create(std::string path, std::string data, CreateMode mode, Deadline deadline);
  Step<Stat> set(std::string path, std::string data, Expected expected, Deadline deadline);
  Step<void> remove(std::string path, Expected expected, Deadline deadline);
  Step<std::vector<Stat>> multi(std::vector<WriteOp> ops, Deadline deadline,
                                WriteOn where = WriteOn::callback_thread);

  // Reads all these paths, kReadsAtOnce at a time; those that are gone are left out.
  template <typename T>
  Step<std::vector<Entry<T>>> get_all(std::vector<std::string> all, Deadline deadline);
  // The children of all these paths, as paths; of one that is gone, none.
  Step<std::vector<std::string>> list_all(std::vector<std::string> all, Deadline deadline);
  std::vector<std::string> bucket_paths(const std::string& folder) const;

  // The DC's record from `dcs` or read now. dc_unknown also while it is being removed.
  Step<DcEntry> dc_to_bind_in(std::string name, Deadline deadline);
  Step<FreeSlot> take_slot(std::string dc, Deadline deadline);
  void give_back(const std::string& dc, FreeSlot slot);
  // no_node of something in a DC: is it the DC itself that is unknown?
  Step<bool> dc_exists(std::string name, Deadline deadline);

  Coordinator& coordinator;
  const DirectoryPaths paths;
  std::map<std::string, DcState> dcs;

  static constexpr std::size_t kReadsAtOnce = 512;

 private:
  Flow read_dc(std::shared_ptr<Impl> self, std::string name, Deadline deadline,
               Callback<DcEntry> done);
  Flow reserve_block(std::shared_ptr<Impl> self, std::string dc, Deadline deadline);
};

// Shared by the flows of several files.
Flow reserve_slots_flow(std::shared_ptr<Directory::Impl> self, std::string dc, std::uint32_t count,
                        Deadline deadline, Callback<SlotRange> done);

template <typename T>
void answer(const Callback<T>& done, Error error) {
  done(tl::unexpected<Error>(std::move(error)));
}

template <typename T>
void Directory::refuse(Error error, Callback<T> done) {
  impl_->coordinator.run_at(
      Deadline{}, [error = std::move(error), done = std::move(done)] { answer(done, error); });
}

// Reads many paths with a bounded number in flight. Runs on the callback thread.
template <typename T>
class ReadAll : public std::enable_shared_from_this<ReadAll<T>> {
 public:
  ReadAll(Coordinator& coordinator, std::vector<std::string> paths, Deadline deadline,
          Callback<std::vector<Entry<T>>> done)
      : coordinator_(coordinator),
        paths_(std::move(paths)),
        deadline_(deadline),
        done_(std::move(done)) {}

  void advance() {
    while (in_flight_ < Directory::Impl::kReadsAtOnce && next_ < paths_.size() && !error_) {
      ++in_flight_;
      const std::size_t index = next_++;
      coordinator_.get(paths_[index], deadline_,
                       [self = this->shared_from_this(), index](Result<Record> record) {
                         self->arrived(index, std::move(record));
                       });
    }
    if (in_flight_ > 0 || finished_) return;
    finished_ = true;
    if (error_) {
      answer(done_, std::move(*error_));
    } else {
      done_(std::move(entries_));
    }
  }

 private:
  void arrived(std::size_t index, Result<Record> record) {
    --in_flight_;
    if (record) {
      if (auto entry = unpack<T>(paths_[index], *record)) {
        entries_.push_back(std::move(*entry));
      } else if (!error_) {
        error_ = std::move(entry.error());
      }
    } else if (record.error().code != Errc::no_node && !error_) {
      error_ = std::move(record.error());
    }
    advance();
  }

  Coordinator& coordinator_;
  const std::vector<std::string> paths_;
  const Deadline deadline_;
  const Callback<std::vector<Entry<T>>> done_;
  std::size_t next_ = 0;
  std::size_t in_flight_ = 0;
  bool finished_ = false;
  std::vector<Entry<T>> entries_;
  std::optional<Error> error_;
};

template <typename T>
Step<std::vector<Entry<T>>> Directory::Impl::get_all(std::vector<std::string> all,
                                                     Deadline deadline) {
  return Step<std::vector<Entry<T>>>(
      [this, all = std::move(all), deadline](Callback<std::vector<Entry<T>>> next) {
        std::make_shared<ReadAll<T>>(coordinator, all, deadline, std::move(next))->advance();
      });
}

}  // namespace godwit::coord
