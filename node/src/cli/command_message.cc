// godwit call|send|notify|wait: one message by hand
#include <charconv>
#include <memory>

#include "cli/attach.h"
#include "cli/command.h"
#include "cli/payload.h"
#include "cli/peer.h"
#include "cli/units.h"

namespace godwit::node::cli {
namespace {

double milliseconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start)
      .count();
}

struct MessageOptions {
  PeerChoice peer;
  PayloadChoice payload;
  std::string bits;
  bool rendezvous = false;
};

Result<void> call(const Context& context, const MessageOptions& options) {
  auto payload = read_payload(options.payload);
  if (!payload) return tl::make_unexpected(payload.error());
  auto peer = Peer::find(context, "call", options.peer);
  if (!peer) return tl::make_unexpected(peer.error());
  const auto start = std::chrono::steady_clock::now();
  auto reply = peer->endpoint.call(peer->remote, bytes_of(*payload), peer->deadline);
  if (!reply) return tl::make_unexpected(reply.error());
  if (context.json) {
    print_json({{"name", options.peer.name},
                {"id", peer->remote.id().to_string()},
                {"transport", transport_name(*peer->process, peer->endpoint, peer->remote)},
                {"ms", milliseconds_since(start)},
                {"reply", json_of(reply->payload())}});
  } else {
    print(reply->text());
  }
  return {};
}

Result<void> send(const Context& context, const MessageOptions& options) {
  auto payload = read_payload(options.payload);
  if (!payload) return tl::make_unexpected(payload.error());
  auto peer = Peer::find(context, "send", options.peer);
  if (!peer) return tl::make_unexpected(peer.error());
  Result<bool> received = true;
  if (options.rendezvous) {
    auto sent = peer->endpoint.send_rendezvous(peer->remote, bytes_of(*payload), peer->deadline);
    if (!sent) return sent;
  } else {
    received = peer->deliver(bytes_of(*payload));
    if (!received) return tl::make_unexpected(received.error());
  }
  if (context.json) {
    print_json({{"name", options.peer.name},
                {"id", peer->remote.id().to_string()},
                {"transport", transport_name(*peer->process, peer->endpoint, peer->remote)},
                {"size", payload->size()},
                {"received", *received}});
  }
  return {};
}

Result<std::uint64_t> parse_bits(const std::string& text) {
  std::string_view digits = text;
  const bool hexadecimal = digits.starts_with("0x") || digits.starts_with("0X");
  if (hexadecimal) digits.remove_prefix(2);
  std::uint64_t bits = 0;
  const auto [end, error] =
      std::from_chars(digits.data(), digits.data() + digits.size(), bits, hexadecimal ? 16 : 10);
  if (error != std::errc() || end != digits.data() + digits.size() || bits == 0)
    return fail(
        Errc::invalid_argument,
        "'" + printable(text) + "' are no bits: write a number from 1 to 2^64-1, as 5 or 0x5");
  return bits;
}

Result<void> notify(const Context& context, const MessageOptions& options) {
  const auto bits = parse_bits(options.bits);
  if (!bits) return tl::make_unexpected(bits.error());
  auto peer = Peer::find(context, "notify", options.peer);
  if (!peer) return tl::make_unexpected(peer.error());
  if (auto delivered = peer->deliver(*bits); !delivered) return delivered;
  if (context.json) {
    print_json(
        {{"name", options.peer.name}, {"id", peer->remote.id().to_string()}, {"bits", *bits}});
  }
  return {};
}

struct WaitOptions {
  PeerChoice peer;
  bool unbound = false;
};

Result<void> wait(const Context& context, const WaitOptions& options) {
  auto process = attach(context, "wait");
  if (!process) return tl::make_unexpected(process.error());
  auto endpoint = (*process)->bind_anonymous(dc_of(options.peer.name), options.peer.timeout);
  if (!endpoint) return tl::make_unexpected(endpoint.error());
  if (options.unbound) {
    auto gone = endpoint->wait_unbound(options.peer.name, options.peer.timeout);
    if (gone && context.json) print_json({{"name", options.peer.name}, {"id", nullptr}});
    return gone;
  }
  const auto bound = endpoint->wait_bound(options.peer.name, options.peer.timeout);
  if (!bound) return tl::make_unexpected(bound.error());
  if (context.json) {
    print_json({{"name", options.peer.name}, {"id", bound->id().to_string()}});
  } else {
    print(bound->id().to_string() + "\n");
  }
  return {};
}

}  // namespace

void add_message_commands(CLI::App& app, Context& context) {
  const auto calling = std::make_shared<MessageOptions>();
  CLI::App* command = add_command(
      app, context,
      {.name = "call",
       .summary = "Send a request to an endpoint and print the reply",
       .details =
           "The reply is printed as it is, without a newline. The request is executed at most "
           "once; an error says\nif it may have been executed.",
       .examples = "  godwit call demo/echo hello\n"
                   "  date | godwit call demo/echo -\n"
                   "  godwit call demo/echo --hex 'ca fe' --json\n"
                   "  godwit call demo/echo --timeout 200ms --wait -- --text-with-dashes"},
      [&context, calling] { return call(context, *calling); });
  add_peer_options(command, calling->peer);
  add_payload_options(command, calling->payload);

  const auto sending = std::make_shared<MessageOptions>();
  command = add_command(
      app, context,
      {.name = "send",
       .summary = "Send a message to an endpoint",
       .details = "Returns once the message is with the peer's process; with --rendezvous once the "
                  "peer has received it.",
       .examples = "  godwit send demo/log 'it works'\n"
                   "  godwit send demo/log --file report.bin --rendezvous --timeout 1m"},
      [&context, sending] { return send(context, *sending); });
  add_peer_options(command, sending->peer);
  add_payload_options(command, sending->payload);
  command->add_flag("--rendezvous", sending->rendezvous, "Wait until the peer has received it");

  const auto notifying = std::make_shared<MessageOptions>();
  command = add_command(app, context,
                        {.name = "notify",
                         .summary = "Set bits at an endpoint",
                         .details = "Bits that the peer has not received yet are merged.",
                         .examples = "  godwit notify demo/worker 1\n"
                                     "  godwit notify demo/worker 0x8000"},
                        [&context, notifying] { return notify(context, *notifying); });
  add_peer_options(command, notifying->peer);
  command->add_option("bits", notifying->bits, "A number from 1 to 2^64-1, as 5 or 0x5")
      ->required()
      ->type_name("BITS")
      ->check(checked_by([](const std::string& text) -> Result<void> {
        const auto bits = parse_bits(text);
        if (!bits) return tl::make_unexpected(bits.error());
        return {};
      }));

  const auto waiting = std::make_shared<WaitOptions>();
  command = add_command(app, context,
                        {.name = "wait",
                         .summary = "Wait until an endpoint is bound, or gone",
                         .details = "",
                         .examples = "  godwit wait demo/server && godwit call demo/server hello\n"
                                     "  godwit wait demo/server --unbound --timeout 1m"},
                        [&context, waiting] { return wait(context, *waiting); });
  add_endpoint_name(command, waiting->peer.name, "The endpoint, with its DC");
  add_duration(command, "--timeout", waiting->peer.timeout,
               "Give up after this time (default: 5s)");
  command->add_flag("--unbound", waiting->unbound, "Until nobody living has the name");
}

}  // namespace godwit::node::cli
