// LocalCoordinator: the Coordinator for several agents on one machine, without a
// server. Threads and contract: coordinator.h.
//
// The records are in a SQLite database in a folder; who lives and what changed is in
// a small file of shared memory (/dev/shm), so an idle participant writes no disk and
// wakes a few times a second. A participant that dies, or does not run for longer
// than its session time-out, is expired by the others, whatever moment it stopped at.
//
// A process stopped (SIGSTOP) in the middle of a commit, some 100 µs, holds the
// database's lock until it goes on or dies: the others' writes then answer
// `unavailable` at their deadlines.
#pragma once

#include <godwit/coord/coordinator.h>

#include <chrono>
#include <memory>
#include <string>

namespace godwit::coord {

struct LocalOptions {
  // Made if missing. All participants see the same folder and the same /dev/shm.
  std::string folder;
  // 100 ms to 60 s. A session's owner stamps it four times as often.
  std::chrono::milliseconds session_timeout{600};
  SessionHandler on_session;
};

class LocalCoordinator final : public Coordinator {
 public:
  // Opens the store and a session; `connected` follows by event. Errors: no_space,
  // io_error, corrupt (not our store, or a newer one), limit_exceeded (all
  // kMaxSessions session slots are taken).
  static Result<std::unique_ptr<LocalCoordinator>> open(LocalOptions options);
  ~LocalCoordinator() override;

  SessionId session_id() const override;
  bool connected() const override;
  bool on_callback_thread() const override;
  void run_at(Deadline time, std::function<void()> task) override;
  void close() override;

 protected:
  void start_write(std::vector<WriteOp> ops, Deadline deadline, Callback<std::vector<Stat>> done,
                   WriteOn where) override;
  void start_get(std::string path, Deadline deadline, Callback<Record> done,
                 Watcher watcher) override;
  void start_list(std::string path, Deadline deadline, Callback<Children> done,
                  Watcher watcher) override;
  void post(std::function<void()> task) override;

 private:
  class Impl;
  explicit LocalCoordinator(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace godwit::coord
