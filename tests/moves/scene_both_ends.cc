// A relay, itself a server that moves, stands between half of the clients and the bank: both ends
// of the channel between them move at the same time, again and again.
#include <algorithm>
#include <array>

#include "scene.h"

namespace moves {

namespace {

using godwit::local_cluster::ChildProcess;

constexpr unsigned kRounds = 15;

struct Migrate {
  std::string what;
  ChildProcess command;
  std::string output;
};

}  // namespace

Result<void> play_both_ends(Scene& scene, const Options& options) {
  if (auto banks = scene.start_servers("bank", kProgram); !banks)
    return tl::make_unexpected(banks.error());
  if (auto relays = scene.start_servers("relay", kRelayProgram); !relays)
    return tl::make_unexpected(relays.error());
  const unsigned direct = std::max(options.clients / 2, 1u);
  if (auto started = scene.start_clients(direct); !started) return started;
  if (auto started = scene.start_clients(direct, {"--to", kRelay}); !started) return started;

  std::size_t bank = 0, relay = 0;
  for (unsigned round = 0; round < kRounds; ++round) {
    // To the same node, past each other, and to where the other one was.
    bank = (bank + 1 + round % 2) % scene.nodes();
    relay = (relay + 1 + round / 2 % 2) % scene.nodes();
    std::vector<Migrate> both;
    for (const auto& [name, to] : {std::pair{kBank, bank}, std::pair{kRelay, relay}}) {
      auto command = scene.conductor().command_line().start(
          scene.node(0), {"migrate", name, scene.node(to), "--json"});
      if (!command) return tl::make_unexpected(command.error());
      both.push_back({name, std::move(*command), {}});
    }
    auto ended = scene.crew().run_until(
        [&] {
          bool all = true;
          for (Migrate& each : both) {
            all = each.command.ended().has_value() && all;
            while (auto line = each.command.next_line()) each.output += *line + "\n";
          }
          return all;
        },
        std::chrono::seconds(options.limit));
    if (!ended) return ended;
    for (Migrate& each : both) {
      if (each.command.ended()->ok()) continue;
      return godwit::fail(godwit::Errc::system, "the move of " + each.what + " in round " +
                                                    std::to_string(round) + " failed:\n" +
                                                    each.output);
    }
    scene.count_moves(2);
    if (auto worked = scene.let_work(20); !worked) return worked;
  }
  return {};
}

}  // namespace moves
