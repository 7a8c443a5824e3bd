// Blocking forms of the Coordinator's operations, for start-up code, command lines
// and tests. Any thread but the callback thread of the coordinator (asserted: a
// wait there would never end). They return soon after the deadline at the latest, with
// Errc::deadline even if the callback thread is stuck.
#pragma once

#include <godwit/coord/coordinator.h>

#include <string>
#include <vector>

namespace godwit::coord::blocking {

Result<Stat> create(Coordinator& coordinator, std::string path, std::string data, CreateMode mode,
                    Deadline deadline);
Result<Stat> set(Coordinator& coordinator, std::string path, std::string data, Expected expected,
                 Deadline deadline);
Result<void> remove(Coordinator& coordinator, std::string path, Expected expected,
                    Deadline deadline);
Result<std::vector<Stat>> multi(Coordinator& coordinator, std::vector<WriteOp> ops,
                                Deadline deadline);
Result<Record> get(Coordinator& coordinator, std::string path, Deadline deadline,
                   Watcher watcher = {});
Result<Children> list(Coordinator& coordinator, std::string path, Deadline deadline,
                      Watcher watcher = {});

// Creates `path` and its missing ancestors as empty persistent records; ok if they
// exist.
Result<void> ensure_path(Coordinator& coordinator, std::string_view path, Deadline deadline);

// Waits for a result of anything that completes by a callback: `start` is called
// with a callback to give to the operation.
template <typename T>
Result<T> wait(Coordinator& coordinator, Deadline deadline,
               const std::function<void(Callback<T>)>& start);

}  // namespace godwit::coord::blocking

#include <godwit/coord/blocking_wait.h>
