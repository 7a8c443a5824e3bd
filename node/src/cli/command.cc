#include "cli/command.h"

#include <charconv>
#include <utility>

#include "cli/units.h"
#include "godwit/endpoint_id.h"

namespace godwit::node::cli {
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

// CLI11 reports what a validator returns.
CLI::Validator checked_by(std::function<Result<void>(const std::string&)> check) {
  return CLI::Validator(
      [check = std::move(check)](std::string& text) {
        const auto result = check(text);
        return result ? std::string() : printable(result.error().message);
      },
      "");
}

CLI::Option* add_size(CLI::App* command, const std::string& name, std::uint64_t& target,
                      const std::string& help) {
  return command
      ->add_option_function<std::string>(
          name, [&target](const std::string& text) { target = parse_size(text).value(); }, help)
      ->type_name("SIZE")
      ->check(checked_by([](const std::string& text) -> Result<void> {
        const auto size = parse_size(text);
        if (!size) return tl::make_unexpected(size.error());
        return {};
      }));
}

CLI::Option* add_duration(CLI::App* command, const std::string& name,
                          std::chrono::nanoseconds& target, const std::string& help,
                          std::chrono::nanoseconds at_least) {
  return command
      ->add_option_function<std::string>(
          name, [&target](const std::string& text) { target = parse_duration(text).value(); }, help)
      ->type_name("TIME")
      ->check(checked_by([at_least](const std::string& text) -> Result<void> {
        const auto duration = parse_duration(text);
        if (!duration) return tl::make_unexpected(duration.error());
        if (*duration >= at_least) return {};
        return fail(Errc::invalid_argument,
                    "must be at least " + human_time(static_cast<double>(at_least.count())));
      }));
}

CLI::Option* add_count(CLI::App* command, const std::string& name, std::uint64_t& target,
                       const std::string& help, std::uint64_t limit) {
  // The parser's own conversion takes "-1" for the largest number.
  return command->add_option(name, target, help)
      ->type_name("N")
      ->check(checked_by([limit](const std::string& text) -> Result<void> {
        std::uint64_t number = 0;
        const char* end = text.data() + text.size();
        const auto [stopped, error] = std::from_chars(text.data(), end, number);
        if (error == std::errc() && stopped == end && number > 0 && number <= limit) return {};
        return fail(Errc::invalid_argument,
                    "'" + printable(text) + "' is no number from 1 to " + std::to_string(limit));
      }));
}

CLI::Option* add_endpoint_name(CLI::App* command, std::string& target, const std::string& help) {
  return command->add_option("name", target, help)
      ->required()
      ->type_name("DC/NAME")
      ->check(checked_by([](const std::string& text) -> Result<void> {
        const auto name = EndpointName::parse(text);
        if (!name) return tl::make_unexpected(name.error());
        return {};
      }));
}

CLI::Option* add_dc_name(CLI::App* command, const std::string& option, std::string& target,
                         const std::string& help) {
  return command->add_option(option, target, help)
      ->type_name("DC")
      ->check(checked_by([](const std::string& text) -> Result<void> {
        if (text.find('/') != std::string::npos)
          return fail(Errc::invalid_argument, "a DC's name has no '/'");
        return check_name("a DC's name", text);
      }));
}

}  // namespace godwit::node::cli
