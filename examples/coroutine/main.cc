// Coroutines: many calls under way at once, written as if each were alone.
//
//   example_coroutine [CALLERS [CALLS]]
//
// It needs no agent: an embedded process has a directory of its own, for endpoints between its
// threads. One thread serves; on the other, CALLERS coroutines each make CALLS calls, one after the
// other, and every call waits for its reply with co_await.
#include <charconv>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>

#include "../common/check.h"
#include "godwit/godwit.h"
#include "task.h"

using namespace std::chrono_literals;

namespace {

// Replies with the square of the number that a request carries.
void serve(godwit::Process& process, std::stop_token stop) {
  auto endpoint = check(process.bind("demo/square"), "bind");
  while (auto request = endpoint.receive_request(stop)) {
    std::uint64_t number = 0;
    const auto text = request->text();
    std::from_chars(text.data(), text.data() + text.size(), number);
    check(endpoint.reply(std::move(*request), godwit::bytes_of(std::to_string(number * number))),
          "reply");
  }
}

struct Tally {
  int running = 0;
  std::uint64_t right = 0, wrong = 0;
};

Task caller(godwit::Endpoint& me, godwit::Remote server, std::uint64_t first, int calls,
            Tally& tally) {
  ++tally.running;
  for (std::uint64_t number = first; number < first + static_cast<std::uint64_t>(calls); ++number) {
    const std::string request = std::to_string(number);  // lives until the reply is there
    const auto reply = co_await me.co_call(server, godwit::bytes_of(request), 10s);
    const bool right = reply && reply->text() == std::to_string(number * number);
    ++(right ? tally.right : tally.wrong);
  }
  --tally.running;
}

}  // namespace

int main(int argc, char** argv) {
  const int callers = argc > 1 ? std::atoi(argv[1]) : 100;
  const int calls = argc > 2 ? std::atoi(argv[2]) : 100;
  if (callers < 1 || callers > static_cast<int>(godwit::kChannelWindow) || calls < 1) {
    std::fprintf(stderr, "usage: %s [CALLERS (at most %u) [CALLS]]\n", argv[0],
                 godwit::kChannelWindow);
    return 2;
  }
  auto process = check(godwit::Process::embedded(), "embedded");
  std::jthread server([&](std::stop_token stop) { serve(*process, stop); });

  auto me = check(process->bind_anonymous("demo"), "bind");
  const auto square = check(me.wait_bound("demo/square", 5s), "wait_bound");
  Tally tally;
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < callers; ++i) {
    caller(me, square, static_cast<std::uint64_t>(i) * 1000, calls, tally);
  }
  // Replies arrive, and coroutines go on, while this thread is inside Godwit.
  check(process->run_until([&] { return tally.running == 0; }, 60s), "run_until");
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;

  std::printf("%llu right, %llu wrong: %.0f calls/s with %d under way at once\n",
              static_cast<unsigned long long>(tally.right),
              static_cast<unsigned long long>(tally.wrong), double(tally.right) / took.count(),
              callers);
  return tally.wrong == 0 && tally.right == std::uint64_t(callers) * std::uint64_t(calls) ? 0 : 1;
}
