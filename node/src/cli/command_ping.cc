// godwit ping
#include <algorithm>
#include <memory>

#include "cli/command.h"
#include "cli/histogram.h"
#include "cli/peer.h"
#include "cli/stop_on_signal.h"
#include "cli/units.h"

namespace godwit::node::cli {
namespace {

using Clock = std::chrono::steady_clock;

struct PingOptions {
  PeerChoice peer;
  std::uint64_t count = 0;  // 0: until interrupted
  std::uint64_t size = 56;
  std::chrono::nanoseconds interval = std::chrono::seconds(1);
  bool quiet = false;
};

// What has happened so far.
struct PingResult {
  Histogram latencies;
  std::uint64_t sent = 0;
  std::uint64_t received = 0;
  std::uint64_t different = 0;  // replies with another payload: not an echo
  std::string transport;        // that carried the last one
  std::optional<Error> last_error;
};

// Bytes that differ from ping to ping, so that an old reply is not taken for the present one.
void fill(std::string& payload, std::uint64_t sequence) {
  for (std::size_t i = 0; i < payload.size(); ++i)
    payload[i] = static_cast<char>(i < 8 ? sequence >> (8 * i) : i);
}

void show(const Context& context, const PingOptions& options, const PingResult& result,
          const std::string& id) {
  const double lost = result.sent == 0
                          ? 0
                          : 100.0 * static_cast<double>(result.sent - result.received) /
                                static_cast<double>(result.sent);
  if (context.json) {
    print_json({{"name", options.peer.name},
                {"id", id},
                {"size", options.size},
                {"transport", result.transport},
                {"sent", result.sent},
                {"received", result.received},
                {"different", result.different},
                {"latency", json_of(result.latencies)}});
    return;
  }
  char share[32];
  std::snprintf(share, sizeof share, "%.3g %%", lost);
  print(std::to_string(result.sent) + " sent, " + std::to_string(result.received) + " received, " +
        share + " lost" +
        (result.different > 0 ? ", " + std::to_string(result.different) + " not an echo" : "") +
        "\n");
  if (result.received > 0) print("round trip: " + text_of(result.latencies) + "\n");
}

Result<void> ping(const Context& context, const PingOptions& options) {
  if (options.size > kMaxMessage)
    return fail(Errc::too_large, "a message has at most " + std::to_string(kMaxMessage) + " bytes");
  StopOnSignal stop;
  auto peer = Peer::find(context, "ping", options.peer, stop.token());
  if (!peer) return tl::make_unexpected(peer.error());
  const bool lines = !context.json && !options.quiet && options.interval.count() > 0;
  PingResult result;
  std::string payload(options.size, '\0');
  auto next = Clock::now();
  while (!stop.stopped() && (options.count == 0 || result.sent < options.count)) {
    fill(payload, result.sent);
    const auto start = Clock::now();
    auto reply = peer->endpoint.call(peer->remote, bytes_of(payload),
                                     Wait(options.peer.timeout, stop.token()));
    const auto took = std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - start);
    if (!reply && reply.error().code == Errc::cancelled) break;
    ++result.sent;
    if (reply) {
      ++result.received;
      result.latencies.record(static_cast<std::uint64_t>(took.count()));
      if (reply->text() != payload) ++result.different;
      result.transport = transport_name(*peer->process, peer->endpoint, peer->remote);
    } else {
      result.last_error = reply.error();
    }
    if (lines) {
      print(reply ? std::to_string(reply->payload().size()) + " bytes from " +
                        printable(options.peer.name) + ": seq=" + std::to_string(result.sent) +
                        " time=" + human_time(static_cast<double>(took.count())) + " over " +
                        result.transport + "\n"
                  : "seq=" + std::to_string(result.sent) + " " +
                        std::string(to_string(reply.error().code)) + "\n",
            true);
    }
    // An endpoint that is gone does not come back under this id.
    if (!reply && reply.error().code == Errc::endpoint_died) break;
    next += options.interval;
    if (options.interval.count() == 0 || (options.count != 0 && result.sent == options.count))
      continue;
    next = std::max(next, Clock::now());
    // Until the next ping this only keeps the engine going.
    auto waited = peer->process->run_until([] { return false; }, Wait(next, stop.token()));
    if (!waited && waited.error().code != Errc::deadline_exceeded &&
        waited.error().code != Errc::cancelled)
      return waited;
  }
  show(context, options, result, peer->remote.id().to_string());
  if (result.last_error) return tl::make_unexpected(*result.last_error);
  if (result.different > 0) {
    return fail(Errc::protocol_error, "replies came, but not what was sent: this is no echo server",
                options.peer.name);
  }
  return {};
}

}  // namespace

void add_ping_command(CLI::App& app, Context& context) {
  const auto options = std::make_shared<PingOptions>();
  CLI::App* command = add_command(
      app, context,
      {.name = "ping",
       .summary = "Measure the round trip of calls to an echo server",
       .details =
           "The endpoint must answer a request with its payload, as 'godwit echo' and 'godwit "
           "perf server' do. Ends\nafter -c pings or at Ctrl-C, with percentiles. Fails if a "
           "ping was not answered. --interval 0 sends\nthe next as soon as one is answered and "
           "prints the summary alone.",
       .examples = "  godwit ping demo/echo -c 5\n"
                   "  godwit ping demo/echo -c 10000 --interval 0 --transport tcp --json"},
      [&context, options] { return ping(context, *options); });
  add_peer_options(command, options->peer);
  add_count(command, "-c,--count", options->count, "Pings to send (default: until Ctrl-C)");
  add_size(command, "--size", options->size, "Bytes of payload (default: 56)");
  add_duration(command, "--interval", options->interval, "Time between pings (default: 1s)");
  command->add_flag("-q,--quiet", options->quiet, "Print the summary alone");
  add_waiting_options(command, options->peer.attach);
}

}  // namespace godwit::node::cli
