#include "cli/command.h"

#include <utility>

#include "cli/units.h"
#include "godwit/endpoint_id.h"

namespace godwit::node::cli {
namespace {

// CLI11 reports what a validator returns.
template <typename Check>
CLI::Validator validator(const std::string& type, Check check) {
  return CLI::Validator(
      [check](std::string& value) {
        auto result = check(value);
        return result ? std::string() : printable(result.error().message);
      },
      type);
}

}  // namespace

std::string_view version() noexcept {
  return GODWIT_VERSION;
}

CLI::App* add_command(CLI::App& parent, Context& context, const CommandText& text,
                      std::function<Result<void>()> action) {
  CLI::App* command = parent.add_subcommand(text.name, text.summary);
  command
      ->add_option("--run", context.run,
                   "The agent's runtime directory (default: $GODWIT_RUN, else the user's)")
      ->type_name("DIR");
  command->add_flag("--json", context.json, "Print JSON");
  std::string footer;
  if (!text.details.empty()) footer += text.details + "\n\n";
  footer += "Examples:\n" + text.examples;
  command->footer(footer);
  command->callback([&context, action = std::move(action)] { context.action = action; });
  return command;
}

CLI::App* add_group(CLI::App& parent, const std::string& name, const std::string& summary) {
  CLI::App* group = parent.add_subcommand(name, summary);
  group->require_subcommand(1);
  return group;
}

CLI::Option* add_size(CLI::App* command, const std::string& name, std::uint64_t& target,
                      const std::string& help) {
  return command
      ->add_option_function<std::string>(
          name, [&target](const std::string& text) { target = parse_size(text).value(); }, help)
      ->check(size_validator());
}

CLI::Validator size_validator() {
  return validator("SIZE", parse_size);
}

CLI::Option* add_duration(CLI::App* command, const std::string& name,
                          std::chrono::nanoseconds& target, const std::string& help) {
  return command
      ->add_option_function<std::string>(
          name, [&target](const std::string& text) { target = parse_duration(text).value(); }, help)
      ->check(validator("TIME", parse_duration));
}

CLI::Option* add_endpoint_name(CLI::App* command, std::string& target, const std::string& help) {
  return command->add_option("name", target, help)
      ->required()
      ->check(
          validator("DC/NAME", [](const std::string& name) { return EndpointName::parse(name); }));
}

CLI::Option* add_dc_name(CLI::App* command, const std::string& option, std::string& target,
                         const std::string& help) {
  return command->add_option(option, target, help)
      ->check(validator("DC", [](const std::string& name) { return check_name("DC", name); }));
}

}  // namespace godwit::node::cli
