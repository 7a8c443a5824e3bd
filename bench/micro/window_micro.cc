// The bookkeeping of a channel for one message: accepted, sent, arrived, taken, acknowledged.
#include <benchmark/benchmark.h>

#include "channel/window.h"

namespace {

using namespace godwit::channel;  // NOLINT: a program

void window_message(benchmark::State& state) {
  SendWindow out;
  ReceiveWindow in;
  for (auto unused : state) {
    out.accept();
    const Number number = out.transmit();
    if (in.on_frame(number) != ReceiveWindow::Verdict::deliver)
      return state.SkipWithError("not delivered");
    in.on_taken(number);
    benchmark::DoNotOptimize(out.on_ack(in.received()));
  }
}
BENCHMARK(window_message);

}  // namespace
