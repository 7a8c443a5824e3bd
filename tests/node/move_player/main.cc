// usage: godwit-test-move-player [--run DIR] [--program NAME] [--hold REPORT]...
//
// A process for tests of moves: see player.h. Its run directory and the move it was started for
// come from the environment, as the agent sets it, unless --run names it. It ends with its standard
// input, but one that an agent has started runs until it is killed.
#include <unistd.h>

#include <cstdlib>
#include <string>

#include "player.h"

int main(int argc, char** argv) {
  godwit::move_player::Player::Options options;
  if (const char* run = std::getenv("GODWIT_RUN")) options.run = run;
  if (const char* move = std::getenv("GODWIT_MOVE")) {
    options.move = std::strtoull(move, nullptr, 16);
    // The agent gives it no input to end with: one that never ends stands in.
    int ends[2];
    if (::pipe(ends) != 0 || ::dup2(ends[0], STDIN_FILENO) < 0) return 1;
  }
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string option = argv[i];
    if (option == "--run") options.run = argv[i + 1];
    if (option == "--program") options.program = argv[i + 1];
    if (option == "--hold") options.hold.insert(argv[i + 1]);
  }
  return godwit::move_player::Player(std::move(options)).run();
}
