// A bank is handed to a newer build of itself, whose state has another format (--format 2), under
// load. Back to the older build it cannot go: that is refused by the older one, and nothing is
// lost.
#include "scene.h"

namespace moves {

namespace {
constexpr std::uint64_t kSome = 200;  // operations of each client
}  // namespace

Result<void> play_upgrade(Scene& scene, const Options& options) {
  auto old = scene.start_server(0, "bank", false, {"--format", "1"});
  if (!old) return tl::make_unexpected(old.error());
  for (std::size_t i = 1; i < scene.nodes(); ++i) {
    auto newer = scene.start_server(i, "bank", true, {"--format", "2"});
    if (!newer) return tl::make_unexpected(newer.error());
  }
  const auto limit = std::chrono::seconds(options.limit);
  CommandLine& command_line = scene.conductor().command_line();
  if (auto ready = command_line.wait_for_standbys(scene.node(0), scene.node(0), kProgram, limit);
      !ready)
    return ready;
  if (auto started = scene.start_clients(options.clients); !started) return started;

  if (auto worked = scene.let_work(kSome); !worked) return worked;
  if (auto moved = scene.move(kBank, 1); !moved) return moved;
  if (auto worked = scene.let_work(kSome); !worked) return worked;
  // The older build stands by where the bank was, and must not take what it does not understand.
  if (auto ready = command_line.wait_for_standbys(scene.node(0), scene.node(1), kProgram, limit);
      !ready)
    return ready;
  if (auto refused = scene.move_in_vain(kBank, 0, "another format"); !refused) return refused;
  if (auto worked = scene.let_work(kSome); !worked) return worked;

  (*old)->process.write_line("finish");
  auto ended = scene.crew().run_until([&] { return (*old)->find("result") != nullptr; }, limit);
  if (!ended) return ended;
  (*old)->dismissed = true;
  auto newer = scene.start_server(0, "bank", true, {"--format", "2"});
  if (!newer) return tl::make_unexpected(newer.error());
  if (auto ready = command_line.wait_for_standbys(scene.node(0), scene.node(1), kProgram, limit);
      !ready)
    return ready;
  for (const std::size_t to : {std::size_t{0}, std::size_t{2}, std::size_t{1}}) {
    if (auto moved = scene.move(kBank, to); !moved) return moved;
    if (auto worked = scene.let_work(kSome); !worked) return worked;
  }
  return {};
}

}  // namespace moves
