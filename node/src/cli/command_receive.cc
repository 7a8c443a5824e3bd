// godwit receive, godwit echo: an endpoint to try things with
#include <memory>

#include "cli/attach.h"
#include "cli/command.h"
#include "cli/stop_on_signal.h"
#include "cli/units.h"

namespace godwit::node::cli {
namespace {

struct ReceiveOptions {
  std::string name;
  std::string reply;
  std::uint64_t count = 0;  // 0: until interrupted
  bool raw = false;
  AttachChoice attach;
};

std::string_view kind_name(Message::Kind kind) {
  switch (kind) {
    case Message::Kind::message:
      return "message";
    case Message::Kind::request:
      return "request";
    case Message::Kind::reply:
      return "reply";
    case Message::Kind::notification:
      return "notification";
  }
  return "?";
}

void show(const Context& context, const ReceiveOptions& options, const Message& message) {
  const bool notification = message.kind() == Message::Kind::notification;
  if (context.json) {
    Json document = {{"kind", kind_name(message.kind())}, {"from", message.source().to_string()}};
    if (notification) {
      document["bits"] = message.bits();
    } else {
      document["payload"] = json_of(message.payload());
    }
    print_json(document, true);
  } else if (options.raw) {
    if (!notification) print(message.text(), true);
  } else {
    std::string line(kind_name(message.kind()));
    line += " from " + message.source().to_string() + ": ";
    if (notification) {
      char bits[19];
      std::snprintf(bits, sizeof bits, "0x%llx", static_cast<unsigned long long>(message.bits()));
      line += bits;
    } else {
      line += printable(message.text());
    }
    print(line + "\n", true);
  }
}

struct Bound {
  std::unique_ptr<Process> process;  // first: it outlives the endpoint
  Endpoint endpoint;
};

Result<Bound> bind(const Context& context, std::string_view command, const ReceiveOptions& options,
                   const StopOnSignal& stop) {
  Bound bound;
  auto process = attach(context, command, options.attach);
  if (!process) return tl::make_unexpected(process.error());
  bound.process = std::move(*process);
  auto endpoint = bound.process->bind(options.name, Wait(std::chrono::seconds(10), stop.token()));
  if (!endpoint) return tl::make_unexpected(endpoint.error());
  bound.endpoint = std::move(*endpoint);
  remark("bound " + printable(options.name) + " as " + bound.endpoint.id().to_string() +
         "; Ctrl-C ends");
  return bound;
}

Result<void> receive(const Context& context, const ReceiveOptions& options) {
  StopOnSignal stop;
  auto bound = bind(context, "receive", options, stop);
  if (!bound) return tl::make_unexpected(bound.error());
  for (std::uint64_t taken = 0; options.count == 0 || taken < options.count; ++taken) {
    auto message = bound->endpoint.receive(stop.token());
    if (!message && message.error().code == Errc::cancelled) break;
    if (!message) return tl::make_unexpected(message.error());
    show(context, options, *message);
    if (message->kind() != Message::Kind::request) continue;
    auto request = bound->endpoint.as_request(std::move(*message));
    if (!request) return tl::make_unexpected(request.error());
    if (auto replied = bound->endpoint.reply(std::move(*request), bytes_of(options.reply));
        !replied)
      return replied;
  }
  return bound->endpoint.unbind();
}

// Gives one thing back to where it came from. A sender that is gone, or takes no more, is no error
// of an echo.
Result<void> give_back(Endpoint& endpoint, Message message) {
  if (message.kind() == Message::Kind::request) {
    auto request = endpoint.as_request(std::move(message));
    if (!request) return tl::make_unexpected(request.error());
    // Taken before the request moves; the memory stays where it is until reply() has returned.
    const Bytes payload = request->payload();
    return endpoint.reply(std::move(*request), payload);
  }
  const auto sender = endpoint.lookup(message.source(), std::chrono::seconds(1));
  if (!sender) return {};
  if (message.kind() == Message::Kind::notification) {
    (void)endpoint.notify(*sender, message.bits());
  } else {
    (void)endpoint.try_send(*sender, message.payload());
  }
  return {};
}

Result<void> echo(const Context& context, const ReceiveOptions& options) {
  StopOnSignal stop;
  auto bound = bind(context, "echo", options, stop);
  if (!bound) return tl::make_unexpected(bound.error());
  std::uint64_t taken = 0;
  for (; options.count == 0 || taken < options.count; ++taken) {
    auto message = bound->endpoint.receive(stop.token());
    if (!message && message.error().code == Errc::cancelled) break;
    if (!message) return tl::make_unexpected(message.error());
    if (auto given = give_back(bound->endpoint, std::move(*message)); !given) return given;
  }
  if (context.json) print_json({{"name", options.name}, {"echoed", taken}});
  return bound->endpoint.unbind();
}

}  // namespace

void add_receive_commands(CLI::App& app, Context& context) {
  const auto receiving = std::make_shared<ReceiveOptions>();
  CLI::App* command = add_command(
      app, context,
      {.name = "receive",
       .summary = "Bind a name and print what arrives",
       .details = "A line for each message, request and notification, control characters as \\xNN. "
                  "With --json one\ndocument on a line each, with --raw the bytes alone. Requests "
                  "are answered with --reply.",
       .examples = "  godwit receive demo/log\n"
                   "  godwit receive demo/once --count 1 --raw > message.bin\n"
                   "  godwit receive demo/ok --reply fine --json"},
      [&context, receiving] { return receive(context, *receiving); });
  add_endpoint_name(command, receiving->name, "The name to bind, with its DC");
  add_count(command, "--count", receiving->count, "End after N");
  command->add_option("--reply", receiving->reply, "The reply to requests (default: empty)")
      ->type_name("TEXT");
  command->add_flag("--raw", receiving->raw, "Print payloads as they are and nothing else");

  const auto echoing = std::make_shared<ReceiveOptions>();
  command = add_command(
      app, context,
      {.name = "echo",
       .summary = "Bind a name and send everything back",
       .details = "Requests are answered with their payload; messages and notifications go back to "
                  "their sender.\n'godwit ping' and 'godwit call' have a counterpart in it.",
       .examples = "  godwit echo demo/echo &\n  godwit ping demo/echo -c 3"},
      [&context, echoing] { return echo(context, *echoing); });
  add_endpoint_name(command, echoing->name, "The name to bind, with its DC");
  add_count(command, "--count", echoing->count, "End after N");
  add_waiting_options(command, echoing->attach);
}

}  // namespace godwit::node::cli
