// usage: godwit-test-holder RUN_DIRECTORY ENGINE_ADDRESS DC NAME...
//
// Attaches to the agent there, binds the names, writes "bound DC:SLOT.GENERATION" for each (or
// "failed ERROR"), then waits until its standard input ends and detaches. A test kills it before.
#include <unistd.h>

#include <cstdio>
#include <future>
#include <string>
#include <vector>

#include "godwit/agent_link.h"

int main(int argc, char** argv) {
  if (argc < 5) return 2;
  godwit::AgentLinkOptions options;
  options.runtime_directory = argv[1];
  auto link = godwit::AgentLink::attach(options);
  if (!link) {
    std::printf("failed %s\n", link.error().to_string().c_str());
    return 1;
  }
  std::vector<godwit::BindRequest> requests;
  for (int i = 4; i < argc; ++i) requests.push_back({argv[3], argv[i], argv[2]});
  std::promise<void> done;
  (*link)->bind_many(requests, [&](const auto& results) {
    for (const auto& result : *results) {
      if (result) {
        std::printf("bound %s\n", result->id.to_string().c_str());
      } else {
        std::printf("failed %s\n", result.error().to_string().c_str());
      }
    }
    std::fflush(stdout);
    done.set_value();
  });
  done.get_future().wait();
  char byte;
  while (::read(STDIN_FILENO, &byte, 1) > 0) {
  }
  return 0;
}
