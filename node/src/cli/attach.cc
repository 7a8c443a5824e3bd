#include "cli/attach.h"

#include <chrono>
#include <vector>

#include "godwit/endpoint_id.h"
#include "godwit/fabric/transport.h"

namespace godwit::node::cli {

void add_transport_option(CLI::App* command, AttachChoice& choice) {
  command
      ->add_option(
          "--transport", choice.transport,
          "Use only this transport: shm, verbs, tcp or ucx (default: the best that both offer)")
      ->check(CLI::IsMember({"shm", "verbs", "tcp", "ucx"}))
      ->type_name("KIND");
}

void add_waiting_options(CLI::App* command, AttachChoice& choice) {
  CLI::Option* polling =
      command->add_flag("--polling", choice.polling, "Never sleep: lowest latency, one core busy");
  command->add_flag("--blocking", choice.blocking, "Sleep whenever there is nothing to do")
      ->excludes(polling);
}

Result<std::unique_ptr<Process>> attach(const Context& context, std::string_view command,
                                        const AttachChoice& choice) {
  ProcessOptions options;
  options.runtime_directory = context.run;
  options.program = "godwit " + std::string(command);
  using Kind = fabric::TransportKind;
  options.transports = {Kind::shm, Kind::verbs, Kind::tcp, Kind::ucx};
  if (!choice.transport.empty()) {
    auto kind = fabric::parse_transport(choice.transport);
    if (!kind) return tl::make_unexpected(kind.error());
    options.force_transport = *kind;
  }
  if (choice.polling) options.spin = std::chrono::nanoseconds::max();
  if (choice.blocking) options.spin = std::chrono::nanoseconds::zero();
  return Process::attach(std::move(options));
}

std::string transport_name(const Process& process, const Endpoint& from, const Remote& to) {
  const auto kind = process.transport_to(from, to);
  return kind ? std::string(fabric::to_string(*kind)) : std::string();
}

std::string dc_of(std::string_view full_name) {
  return std::string(full_name.substr(0, full_name.find('/')));
}

}  // namespace godwit::node::cli
