// What a frame costs before a byte moves.
#include <benchmark/benchmark.h>

#include <vector>

#include "godwit/fabric/frame_pool.h"

namespace {

using godwit::fabric::FramePool;
using godwit::fabric::FramePtr;
using godwit::fabric::FrameQueue;

void frame_allocate_release(benchmark::State& state) {
  FramePool pool;
  for (auto unused : state) {
    FramePtr frame = pool.allocate(static_cast<std::uint32_t>(state.range(0)));
    benchmark::DoNotOptimize(frame.get());
  }
}
BENCHMARK(frame_allocate_release)->Arg(64)->Arg(2048);

// A window's worth is retained and then acknowledged at once.
void frame_retain_window(benchmark::State& state) {
  FramePool pool;
  FrameQueue retained;
  for (auto unused : state) {
    for (int i = 0; i < 256; ++i) retained.push(pool.allocate(64));
    retained.clear();
  }
  state.SetItemsProcessed(state.iterations() * 256);
}
BENCHMARK(frame_retain_window);

}  // namespace
