// The bank goes to and fro without a pause, so that it moves on before all its peers have followed;
// meanwhile clients start, are killed, and sleep through several moves.
#include "scene.h"

namespace moves {

namespace {
constexpr unsigned kRounds = 12;
}  // namespace

Result<void> play_crowd(Scene& scene, const Options& options) {
  if (auto banks = scene.start_servers("bank", kProgram); !banks)
    return tl::make_unexpected(banks.error());
  if (auto started = scene.start_clients(options.clients); !started) return started;
  std::vector<Worker*> guests;
  for (std::size_t i = 0; i < 3; ++i) {
    auto guest = scene.start_guest(i % scene.nodes());
    if (!guest) return tl::make_unexpected(guest.error());
    guests.push_back(*guest);
  }
  for (unsigned round = 0; round < kRounds; ++round) {
    // One sleeps through two moves and finds the bank where it was, or two moves away.
    Worker& sleeper = *guests[round % guests.size()];
    Worker*& victim = guests[(round + 1) % guests.size()];
    scene.crew().pause(sleeper);
    const bool back = round % 2 == 0;
    if (auto moved = scene.move(kBank, 1); !moved) return moved;
    scene.crew().kill(*victim);
    if (auto moved = scene.move(kBank, back ? 0 : 2); !moved) return moved;
    scene.crew().resume(sleeper);
    auto guest = scene.start_guest(round % scene.nodes());
    if (!guest) return tl::make_unexpected(guest.error());
    victim = *guest;
    if (!back) {
      if (auto moved = scene.move(kBank, 0); !moved) return moved;
    }
  }
  return scene.let_work(100);
}

}  // namespace moves
