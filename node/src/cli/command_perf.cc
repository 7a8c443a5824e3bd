// godwit perf server|client
#include <array>
#include <cstdio>
#include <limits>
#include <memory>

#include "cli/command.h"
#include "cli/peer.h"
#include "cli/perf_client.h"
#include "cli/perf_protocol.h"
#include "cli/perf_server.h"
#include "cli/stop_on_signal.h"
#include "cli/units.h"

namespace godwit::node::cli {
namespace {

struct ServerOptions {
  std::string name;
  AttachChoice attach;
};

Result<void> serve(const Context& context, const ServerOptions& options) {
  StopOnSignal stop;
  auto process = attach(context, "perf server", options.attach);
  if (!process) return tl::make_unexpected(process.error());
  auto endpoint = (*process)->bind(options.name, Wait(std::chrono::seconds(10), stop.token()));
  if (!endpoint) return tl::make_unexpected(endpoint.error());
  remark("bound " + printable(options.name) + " as " + endpoint->id().to_string() +
         "; Ctrl-C ends");
  PerfServer server(*endpoint);
  if (auto served = server.run(stop.token()); !served) return served;
  if (context.json) {
    print_json({{"name", options.name},
                {"clients", server.totals().clients},
                {"requests", server.totals().requests},
                {"messages", server.totals().messages}});
  }
  return endpoint->unbind();
}

// Another default for copies than for messages.
constexpr std::uint64_t kDefaultSize = std::numeric_limits<std::uint64_t>::max();

struct ClientOptions {
  PeerChoice peer;
  std::string test = "call";
  std::uint64_t size = kDefaultSize;
  std::string direction = "both";
  PerfPlan plan;
};

std::string waiting_name(const AttachChoice& choice) {
  return choice.polling ? "polling" : choice.blocking ? "blocking" : "adaptive";
}

Result<std::vector<PerfRun>> measure(Peer& peer, const ClientOptions& options,
                                     const PerfPlan& plan) {
  if (options.test == "copy")
    return measure_copies(peer, plan, options.direction != "from", options.direction != "to");
  auto run = options.test == "call"       ? measure_calls(peer, plan)
             : options.test == "pingpong" ? measure_pingpong(peer, plan)
                                          : measure_stream(peer, plan);
  if (!run) return tl::make_unexpected(run.error());
  std::vector<PerfRun> runs;
  runs.push_back(std::move(*run));
  return runs;
}

void print_run(const PerfRun& run) {
  std::array<char, 160> line{};
  const double operations = static_cast<double>(run.operations);
  std::snprintf(line.data(), line.size(), "%-9s  %llu in %.2f s, %s/s, %.1f MB/s\n",
                run.operation.c_str(), static_cast<unsigned long long>(run.operations), run.seconds,
                human_count(operations / run.seconds).c_str(),
                static_cast<double>(run.bytes) / run.seconds / 1e6);
  print(line.data());
  if (run.latencies.count() == 0) return;
  print("           " + text_of(run.latencies) + "\n");
  if (run.operation == "pingpong")
    print("           half of it, one way: p50 " +
          human_time(static_cast<double>(run.latencies.quantile(0.5)) / 2) + ", mean " +
          human_time(run.latencies.mean() / 2) + "\n");
}

Json json_of(const PerfRun& run) {
  Json document = {{"operation", run.operation},
                   {"operations", run.operations},
                   {"bytes", run.bytes},
                   {"seconds", run.seconds},
                   {"operations_per_s", static_cast<double>(run.operations) / run.seconds},
                   {"bytes_per_s", static_cast<double>(run.bytes) / run.seconds}};
  if (run.latencies.count() > 0) document["latency"] = cli::json_of(run.latencies);
  return document;
}

Result<void> measure_and_show(const Context& context, const ClientOptions& options) {
  const bool copy = options.test == "copy";
  PerfPlan plan = options.plan;
  plan.size = options.size != kDefaultSize ? options.size : copy ? std::uint64_t{1} << 20 : 64;
  const std::uint64_t largest = copy ? perf::kMaxCopy : kMaxMessage;
  if (plan.size > largest) {
    return fail(Errc::too_large, "--size " + std::to_string(plan.size) + " is above the " +
                                     std::to_string(largest) + " bytes of --test " + options.test);
  }
  if (copy && plan.size == 0)
    return fail(Errc::invalid_argument, "--size 0 leaves nothing to copy");
  StopOnSignal stop;
  plan.stop = stop.token();
  auto peer = Peer::find(context, "perf client", options.peer, stop.token());
  if (!peer) return tl::make_unexpected(peer.error());
  const auto runs = measure(*peer, options, plan);
  if (!runs) return tl::make_unexpected(runs.error());
  const std::string transport = transport_name(*peer->process, peer->endpoint, peer->remote);
  const bool one_way = options.test == "stream" || copy;
  if (context.json) {
    Json list = Json::array();
    for (const PerfRun& run : *runs) list.push_back(json_of(run));
    print_json({{"test", options.test},
                {"name", options.peer.name},
                {"id", peer->remote.id().to_string()},
                {"transport", transport},
                {"size", plan.size},
                {"window", options.test == "call" ? Json(plan.window) : Json()},
                {"waiting", waiting_name(options.peer.attach)},
                {"verified", one_way},
                {"runs", list}});
    return {};
  }
  print(options.test + " with " + printable(options.peer.name) + " over " + transport + ", " +
        human_bytes(static_cast<double>(plan.size)) +
        (options.test == "call" ? ", window " + std::to_string(plan.window) : "") + ", " +
        waiting_name(options.peer.attach) + "\n");
  for (const PerfRun& run : *runs) print_run(run);
  if (options.test == "stream") print("           all received, in order\n");
  if (copy) print("           the bytes are the same at both ends\n");
  return {};
}

void add_client(CLI::App& group, Context& context) {
  const auto options = std::make_shared<ClientOptions>();
  CLI::App* command = add_command(
      group, context,
      {.name = "client",
       .summary = "Measure against a 'godwit perf server'",
       .details =
           "Tests: call      requests and replies of --size, --window in flight; latency of each\n"
           "       pingpong  one message there and back at a time\n"
           "       stream    messages one way; the server counts them and checks their order\n"
           "       copy      one-sided copies to and from the server's memory, verified\n"
           "MB/s count the payload in one direction, 1 MB = 10^6 bytes. Percentiles are at most "
           "0.8 % too high.\nPolling wants a core for each side.",
       .examples = "  godwit perf server demo/perf &\n"
                   "  godwit perf client demo/perf\n"
                   "  godwit perf client demo/perf --test pingpong --polling --transport shm\n"
                   "  godwit perf client demo/perf --test stream --size 4k --seconds 10 --json\n"
                   "  godwit perf client demo/perf --test copy --size 1g --count 3 --direction to"},
      [&context, options] { return measure_and_show(context, *options); });
  add_peer_options(command, options->peer);
  command->add_option("--test", options->test, "call, pingpong, stream or copy (default: call)")
      ->check(CLI::IsMember({"call", "pingpong", "stream", "copy"}))
      ->type_name("TEST");
  add_size(command, "--size", options->size, "Bytes of payload (default: 64; copy: 1MiB)");
  CLI::Option* seconds = add_duration(command, "--seconds", options->plan.duration,
                                      "How long to measure (default: 3)");
  add_count(command, "--count", options->plan.count, "Operations to measure instead")
      ->excludes(seconds);
  command->add_option("--window", options->plan.window, "Calls in flight (default: 1)")
      ->check(CLI::Range(1U, kChannelWindow))
      ->type_name("N");
  command->add_option("--direction", options->direction, "Of copies: to, from or both (default)")
      ->check(CLI::IsMember({"to", "from", "both"}))
      ->type_name("DIR");
  add_waiting_options(command, options->peer.attach);
}

}  // namespace

void add_perf_commands(CLI::App& app, Context& context) {
  CLI::App* group = add_group(app, "perf", "Measure between two processes or two nodes");
  const auto options = std::make_shared<ServerOptions>();
  CLI::App* command = add_command(
      *group, context,
      {.name = "server",
       .summary = "Bind a name and answer the tests of 'godwit perf client'",
       .details = "Also an echo server for 'godwit ping'. Serves any number of clients.",
       .examples = "  godwit perf server demo/perf\n  godwit perf server demo/perf --polling"},
      [&context, options] { return serve(context, *options); });
  add_endpoint_name(command, options->name, "The name to bind, with its DC");
  add_waiting_options(command, options->attach);
  add_client(*group, context);
}

}  // namespace godwit::node::cli
