#include <godwit/coord/blocking.h>

#include <cstdio>
#include <cstdlib>
#include <utility>

namespace godwit::coord::blocking {

void assert_may_block(const Coordinator& coordinator) {
  if (!coordinator.on_callback_thread()) return;
  // Not a value: waiting here would hang the agent silently, and the mistake is the
  // program's.
  std::fputs("godwit: a blocking call of coord/ on its own callback thread\n", stderr);
  std::abort();
}

Result<Stat> create(Coordinator& coordinator, std::string path, std::string data, CreateMode mode,
                    Deadline deadline) {
  return wait<Stat>(coordinator, deadline, [&](Callback<Stat> done) {
    coordinator.create(std::move(path), std::move(data), mode, deadline, std::move(done));
  });
}

Result<Stat> set(Coordinator& coordinator, std::string path, std::string data, Expected expected,
                 Deadline deadline) {
  return wait<Stat>(coordinator, deadline, [&](Callback<Stat> done) {
    coordinator.set(std::move(path), std::move(data), expected, deadline, std::move(done));
  });
}

Result<void> remove(Coordinator& coordinator, std::string path, Expected expected,
                    Deadline deadline) {
  return wait<void>(coordinator, deadline, [&](Callback<void> done) {
    coordinator.remove(std::move(path), expected, deadline, std::move(done));
  });
}

Result<std::vector<Stat>> multi(Coordinator& coordinator, std::vector<WriteOp> ops,
                                Deadline deadline) {
  return wait<std::vector<Stat>>(coordinator, deadline, [&](Callback<std::vector<Stat>> done) {
    coordinator.multi(std::move(ops), deadline, std::move(done));
  });
}

Result<Record> get(Coordinator& coordinator, std::string path, Deadline deadline, Watcher watcher) {
  return wait<Record>(coordinator, deadline, [&](Callback<Record> done) {
    coordinator.get(std::move(path), deadline, std::move(done), std::move(watcher));
  });
}

Result<Children> list(Coordinator& coordinator, std::string path, Deadline deadline,
                      Watcher watcher) {
  return wait<Children>(coordinator, deadline, [&](Callback<Children> done) {
    coordinator.list(std::move(path), deadline, std::move(done), std::move(watcher));
  });
}

Result<void> ensure_path(Coordinator& coordinator, std::string_view path, Deadline deadline) {
  for (std::size_t end = path.find('/', 1);; end = path.find('/', end + 1)) {
    const std::string_view ancestor = path.substr(0, end);
    auto made = create(coordinator, std::string(ancestor), "", CreateMode::persistent, deadline);
    if (!made && made.error().code != Errc::node_exists)
      return tl::unexpected<Error>(std::move(made.error()));
    if (end == std::string_view::npos) return {};
  }
}

}  // namespace godwit::coord::blocking
