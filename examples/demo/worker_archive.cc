// Bulk: one process grants its memory, others copy it.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <span>
#include <vector>

#include "../common/stop_on_signal.h"
#include "local_cluster/worker_line.h"
#include "workers.h"

namespace demo {

using namespace std::chrono_literals;
using godwit::local_cluster::WorkerLine;

namespace {

constexpr int kRounds = 4;

std::uint64_t word(std::uint64_t i) {
  return i * 0x9E3779B97F4A7C15u + 1;
}

}  // namespace

int serve_archive(const WorkerOptions& options) {
  StopOnSignal stop;
  std::vector<std::uint64_t> data(std::size_t{options.mebibytes} << 17);
  for (std::size_t i = 0; i < data.size(); ++i) data[i] = word(i);
  auto process = attach(options);
  if (!process) return 0;
  auto endpoint = need(process->bind(kArchive), "bind");
  const auto grant = need(endpoint.grant(std::as_bytes(std::span(data))), "grant");
  WorkerLine("ready").say();
  while (auto request = endpoint.receive_request(stop.token())) {
    need(endpoint.reply(std::move(*request), grant.to_bytes()), "reply");
  }
  need(endpoint.revoke(grant, 5s), "revoke");
  return 0;
}

int copy_archive(const WorkerOptions& options) {
  auto process = attach(options);
  if (!process) return 0;
  auto me = need(process->bind_anonymous(kDc), "bind");
  const auto archive = need(me.wait_bound(kArchive, 5s), "wait_bound");
  const auto reply = need(me.call(archive, godwit::bytes_of("your grant, please"), 5s), "call");
  const auto grant = need(godwit::GrantRef::from_bytes(reply.payload()), "grant");

  std::vector<std::uint64_t> data(grant.length / sizeof(std::uint64_t));
  std::uint64_t best = UINT64_MAX, wrong = 0;
  for (int round = 0; round < kRounds; ++round) {
    std::fill(data.begin(), data.end(), 0);
    const std::uint64_t start = now_ns();
    need(me.copy_from(grant, 0, std::as_writable_bytes(std::span(data)), 20s), "copy_from");
    best = std::min(best, now_ns() - start);
    for (std::size_t i = 0; i < data.size(); ++i) wrong += data[i] != word(i);
    WorkerLine("progress").with("done", std::uint64_t(round + 1)).say();
  }
  WorkerLine("result")
      .with("bytes", grant.length)
      .with("rounds", std::uint64_t{kRounds})
      .with("ns", best)
      .with("wrong", wrong)
      .with("transport", transport_name(*process, me, archive))
      .say();
  return 0;
}

}  // namespace demo
