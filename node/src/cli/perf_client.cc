#include "cli/perf_client.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <optional>
#include <utility>

#include "cli/checksum.h"
#include "cli/perf_protocol.h"

namespace godwit::node::cli {
namespace {

using Clock = std::chrono::steady_clock;

// A peer that has not answered by then has a problem that a measurement should not wait for.
constexpr std::chrono::seconds kPatience{30};

constexpr std::uint64_t kWarmUp = 100;

// When a loop has done enough.
class Limit {
 public:
  explicit Limit(const PerfPlan& plan)
      : plan_(plan), begin_(Clock::now()), end_(begin_ + plan.duration) {}

  bool reached(std::uint64_t operations, Clock::time_point now) const {
    if (plan_.stop.stop_requested()) return true;
    return plan_.count != 0 ? operations >= plan_.count : now >= end_;
  }
  Clock::time_point begin() const { return begin_; }
  double seconds() const { return std::chrono::duration<double>(Clock::now() - begin_).count(); }

 private:
  const PerfPlan& plan_;
  Clock::time_point begin_;
  Clock::time_point end_;
};

std::uint64_t nanoseconds(Clock::duration duration) {
  return static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::nanoseconds>(duration).count());
}

Result<perf::Answer> ask(Peer& peer, perf::Operation operation, std::uint64_t size = 0) {
  perf::Control control;
  control.operation = operation;
  control.size = size;
  const auto reply = peer.endpoint.call(peer.remote, perf::bytes_of_struct(control), kPatience);
  if (!reply) return tl::make_unexpected(reply.error());
  const auto answer = perf::decode_answer(reply->payload());
  if (!answer) {
    return fail(Errc::protocol_error, "this is no 'godwit perf server' of this version",
                peer.remote.id().to_string());
  }
  if (answer->status != 0) {
    const auto code = static_cast<Errc>(answer->status);
    return fail(code, "the server refused " + std::to_string(size) + " bytes",
                peer.remote.id().to_string());
  }
  return *answer;
}

// Calls with several in flight: each completion makes room for the next.
class CallLoop {
 public:
  CallLoop(Peer& peer, const PerfPlan& plan, Bytes payload)
      : peer_(peer), plan_(plan), payload_(payload), limit_(plan) {}

  Result<PerfRun> run() {
    while (!failed_ && !limit_.reached(issued_, Clock::now())) {
      while (in_flight_ < plan_.window && !limit_.reached(issued_, limit_.begin())) {
        auto issued = issue();
        if (!issued && issued.error().code == Errc::would_block) break;
        if (!issued) return tl::make_unexpected(issued.error());
      }
      const std::uint64_t before = run_.operations;
      auto moved = peer_.process->run_until(
          [&] { return run_.operations != before || failed_.has_value(); }, kPatience);
      if (!moved) return tl::make_unexpected(moved.error());
    }
    auto drained = peer_.process->run_until([&] { return in_flight_ == 0; }, kPatience);
    if (!drained) return tl::make_unexpected(drained.error());
    if (failed_) return tl::make_unexpected(*failed_);
    run_.seconds = limit_.seconds();
    return std::move(run_);
  }

 private:
  Result<void> issue() {
    const Clock::time_point start = Clock::now();
    auto done = [this, start](const Result<Message>& reply) {
      --in_flight_;
      if (!reply) {
        failed_ = reply.error();
        return;
      }
      ++run_.operations;
      run_.latencies.record(nanoseconds(Clock::now() - start));
    };
    // std::function keeps a callable of two pointers in itself: no allocation for each call.
    static_assert(sizeof done <= 2 * sizeof(void*));
    auto issued = peer_.endpoint.call_async(peer_.remote, payload_, done, kPatience);
    if (!issued) return issued;
    ++in_flight_;
    ++issued_;
    return {};
  }

  Peer& peer_;
  const PerfPlan& plan_;
  const Bytes payload_;
  Limit limit_;
  PerfRun run_;
  std::uint64_t issued_ = 0;
  std::uint32_t in_flight_ = 0;
  std::optional<Error> failed_;
};

}  // namespace

Result<PerfRun> measure_calls(Peer& peer, const PerfPlan& plan) {
  const std::string text(plan.size, 'x');
  const Bytes payload = bytes_of(text);
  for (std::uint64_t i = 0; i < kWarmUp && !plan.stop.stop_requested(); ++i) {
    const auto reply = peer.endpoint.call(peer.remote, payload, kPatience);
    if (!reply) return tl::make_unexpected(reply.error());
    if (reply->payload().size() != payload.size())
      return fail(Errc::protocol_error, "the reply is not the request: this is no echo server");
  }
  Result<PerfRun> run;
  if (plan.window > 1) {
    run = CallLoop(peer, plan, payload).run();
  } else {
    const Limit limit(plan);
    for (Clock::time_point now = limit.begin(); !limit.reached(run->operations, now);) {
      const auto reply = peer.endpoint.call(peer.remote, payload, kPatience);
      if (!reply) return tl::make_unexpected(reply.error());
      const auto then = std::exchange(now, Clock::now());
      run->latencies.record(nanoseconds(now - then));
      ++run->operations;
    }
    run->seconds = limit.seconds();
  }
  if (!run) return run;
  run->operation = "call";
  run->bytes = run->operations * plan.size;
  return run;
}

Result<PerfRun> measure_pingpong(Peer& peer, const PerfPlan& plan) {
  const std::string text(plan.size, 'x');
  const auto round_trip = [&]() -> Result<void> {
    if (auto sent = peer.endpoint.send(peer.remote, bytes_of(text), kPatience); !sent) return sent;
    const auto back = peer.endpoint.receive_from(peer.remote, kPatience);
    if (!back) return tl::make_unexpected(back.error());
    if (back->payload().size() != text.size())
      return fail(Errc::protocol_error,
                  "what came back is not what was sent: this is no echo server");
    return {};
  };
  for (std::uint64_t i = 0; i < kWarmUp && !plan.stop.stop_requested(); ++i)
    if (auto done = round_trip(); !done) return tl::make_unexpected(done.error());
  PerfRun run;
  run.operation = "pingpong";
  const Limit limit(plan);
  for (Clock::time_point now = limit.begin(); !limit.reached(run.operations, now);) {
    if (auto done = round_trip(); !done) return tl::make_unexpected(done.error());
    const auto then = std::exchange(now, Clock::now());
    run.latencies.record(nanoseconds(now - then));
    ++run.operations;
  }
  run.seconds = limit.seconds();
  run.bytes = run.operations * plan.size;
  return run;
}

Result<PerfRun> measure_stream(Peer& peer, const PerfPlan& plan) {
  if (auto begun = ask(peer, perf::Operation::begin_stream); !begun)
    return tl::make_unexpected(begun.error());
  std::string text(plan.size, 'x');
  const bool numbered = plan.size >= perf::kNumberSize;
  const bool large = plan.size > fabric::kSmallPayload;
  // Looking at the clock costs as much as a small message: do it now and then.
  const std::uint64_t look_every = large ? 1 : 64;
  const auto send = [&](std::uint64_t number) -> Result<void> {
    if (!large) {
      if (numbered) std::memcpy(text.data(), &number, sizeof number);
      return peer.endpoint.send(peer.remote, bytes_of(text), kPatience);
    }
    auto buffer = peer.process->allocate(plan.size);
    if (!buffer || buffer->empty()) {
      // The arena is full of messages under way: wait until one has been received.
      auto room = peer.process->run_until(
          [&] { return (buffer = peer.process->allocate(plan.size)) && !buffer->empty(); },
          kPatience);
      if (!room) return room;
    }
    std::memcpy(buffer->data(), &number, sizeof number);
    return peer.endpoint.send(peer.remote, std::move(*buffer), kPatience);
  };

  PerfRun run;
  run.operation = "stream";
  const Limit limit(plan);
  Clock::time_point now = limit.begin();
  while (!limit.reached(run.operations, now)) {
    if (auto sent = send(run.operations); !sent) return tl::make_unexpected(sent.error());
    if (++run.operations % look_every == 0) now = Clock::now();
  }
  const auto received = ask(peer, perf::Operation::end_stream);
  if (!received) return tl::make_unexpected(received.error());
  run.seconds = limit.seconds();
  run.bytes = received->bytes;
  if (received->messages != run.operations || received->out_of_order != 0 ||
      received->bytes != run.operations * plan.size) {
    return fail(Errc::protocol_error, std::to_string(run.operations) + " messages were sent, " +
                                          std::to_string(received->messages) + " received, " +
                                          std::to_string(received->out_of_order) + " out of order");
  }
  return run;
}

Result<std::vector<PerfRun>> measure_copies(Peer& peer, const PerfPlan& plan, bool to, bool from) {
  const auto opened = ask(peer, perf::Operation::open_copy, plan.size);
  if (!opened) return tl::make_unexpected(opened.error());
  const auto grant = GrantRef::from_bytes(opened->grant);
  if (!grant) return tl::make_unexpected(grant.error());
  std::vector<std::byte> memory;
  try {
    memory.resize(plan.size);
  } catch (const std::bad_alloc&) {
    return fail(Errc::no_memory, "no memory for a copy of " + std::to_string(plan.size) + " bytes");
  }

  const auto loop = [&](const char* name, auto copy) -> Result<PerfRun> {
    PerfRun run;
    run.operation = name;
    const Limit limit(plan);
    Clock::time_point now = limit.begin();
    // At least once: there must be something to verify.
    do {
      if (Result<void> copied = copy(); !copied) return tl::make_unexpected(copied.error());
      const auto then = std::exchange(now, Clock::now());
      run.latencies.record(nanoseconds(now - then));
      ++run.operations;
    } while (!limit.reached(run.operations, now));
    run.seconds = limit.seconds();
    run.bytes = run.operations * plan.size;
    const auto theirs = ask(peer, perf::Operation::checksum);
    if (!theirs) return tl::make_unexpected(theirs.error());
    if (theirs->checksum != checksum(memory))
      return fail(Errc::protocol_error, std::string(name) + ": the bytes differ at the two ends");
    return run;
  };

  std::vector<PerfRun> runs;
  if (to) {
    fill_pattern(memory, 1);  // not the pattern that the server begins with
    auto run = loop("copy_to", [&] {
      return peer.endpoint.copy_to(*grant, 0, std::span<const std::byte>(memory), kPatience);
    });
    if (!run) return tl::make_unexpected(run.error());
    runs.push_back(std::move(*run));
  }
  if (from) {
    std::fill(memory.begin(), memory.end(), std::byte{0});
    auto run = loop("copy_from", [&] {
      return peer.endpoint.copy_from(*grant, 0, std::span<std::byte>(memory), kPatience);
    });
    if (!run) return tl::make_unexpected(run.error());
    runs.push_back(std::move(*run));
  }
  if (auto closed = ask(peer, perf::Operation::close_copy); !closed)
    return tl::make_unexpected(closed.error());
  return runs;
}

}  // namespace godwit::node::cli
