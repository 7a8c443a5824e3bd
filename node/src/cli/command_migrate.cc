// godwit migrate, godwit drain, godwit migrations
#include <algorithm>
#include <charconv>
#include <memory>

#include "admin_client.h"
#include "agent/preflight.h"
#include "cli/command.h"
#include "cli/migration_view.h"
#include "cli/migration_wait.h"
#include "cli/units.h"
#include "godwit/endpoint_id.h"

namespace godwit::node::cli {
namespace {

using endpoints::proto::MigrationInfo;

template <typename Number>
bool take_number(std::string_view& text, Number& number, int base = 10) {
  const char* end = text.data() + text.size();
  const auto [stopped, error] = std::from_chars(text.data(), end, number, base);
  text.remove_prefix(static_cast<std::size_t>(stopped - text.data()));
  return error == std::errc();
}

// "1:5.2", as `godwit ls` shows it.
std::optional<EndpointId> parse_id(std::string_view text) {
  const auto skip = [&](char wanted) {
    if (text.empty() || text.front() != wanted) return false;
    text.remove_prefix(1);
    return true;
  };
  EndpointId id;
  const bool good = take_number(text, id.dc) && skip(':') && take_number(text, id.slot) &&
                    skip('.') && take_number(text, id.generation) && text.empty();
  return good ? std::optional(id) : std::nullopt;
}

std::optional<std::uint64_t> parse_move(std::string_view text) {
  std::uint64_t id = 0;
  if (text.size() != 16 || !take_number(text, id, 16) || !text.empty() || id == 0) {
    return std::nullopt;
  }
  return id;
}

void add_node_name(CLI::App* command, const std::string& option, std::string& target,
                   const std::string& help) {
  command->add_option(option, target, help)
      ->required()
      ->type_name("NODE")
      ->check(
          checked_by([](const std::string& text) { return check_name("a node's name", text); }));
}

// --- migrate

struct MigrateOptions {
  std::string endpoint;
  std::string node;
  std::chrono::nanoseconds timeout{};
};

Error error_of(const MigrationInfo& move) {
  return {Errc::cancelled,
          "move " + hex_number(move.id()) + " was aborted by node " + move.aborted_by() + ": " +
              move.abort_reason(),
          subject_of(move)};
}

Result<void> migrate(const Context& context, const MigrateOptions& options) {
  auto wait = MigrationWait::create(options.timeout, !context.json);
  if (!wait) return tl::make_unexpected(wait.error());
  auto agent = AdminClient::connect(context.run);
  if (!agent) return tl::make_unexpected(agent.error());
  endpoints::proto::MigrateRequest request;
  request.set_node(options.node);
  if (const auto id = parse_id(options.endpoint)) {
    request.set_dc(id->dc);
    request.set_slot(id->slot);
    request.set_generation(id->generation);
  } else {
    request.set_name(options.endpoint);
  }
  auto planned = agent->migrate(request);
  if (!planned) return tl::make_unexpected(planned.error());
  std::vector<MigrationInfo> moves = {std::move(*planned)};
  const auto waited = wait->until_ended(*agent, moves);
  const MigrationInfo& move = moves.front();
  if (context.json) print_json({{"migration", json_of(move)}});
  if (!waited) return waited;
  if (!was_committed(move)) return tl::make_unexpected(error_of(move));
  if (!context.json) print(summary_of(move));
  return {};
}

// --- drain

struct DrainOptions {
  std::string node;
  std::chrono::nanoseconds timeout{};
};

Result<void> drain(const Context& context, const DrainOptions& options) {
  auto wait = MigrationWait::create(options.timeout, !context.json);
  if (!wait) return tl::make_unexpected(wait.error());
  auto agent = AdminClient::connect(context.run);
  if (!agent) return tl::make_unexpected(agent.error());
  const auto reply = agent->drain(options.node);
  if (!reply) return tl::make_unexpected(reply.error());
  std::vector<MigrationInfo> moves(reply->moves().begin(), reply->moves().end());
  const auto waited = wait->until_ended(*agent, moves);

  std::size_t left = 0;  // that could have moved
  for (const MigrationInfo& move : moves) {
    if (!was_committed(move)) left += static_cast<std::size_t>(move.members_size());
  }
  for (const auto& stay : reply->stay()) left += stay.reason() == kCannotMove ? 0 : 1;
  if (context.json) {
    Json moved = Json::array();
    for (const MigrationInfo& move : moves) moved.push_back(json_of(move));
    Json stay = Json::array();
    for (const auto& each : reply->stay()) {
      stay.push_back({{"name", each.name()}, {"reason", each.reason()}});
    }
    print_json({{"node", options.node}, {"migrations", moved}, {"stay", stay}});
  } else {
    for (const MigrationInfo& move : moves) {
      if (has_ended(move)) print(summary_of(move));
    }
    for (const auto& each : reply->stay()) {
      print(printable(each.name() + " stays: " + each.reason()) + "\n");
    }
    if (moves.empty() && reply->stay().empty()) print("nothing is served there\n");
  }
  if (!waited) return waited;
  if (left == 0) return {};
  return fail(Errc::cancelled, "not all that can move has left node " + options.node + ": " +
                                   std::to_string(left) +
                                   (left == 1 ? " endpoint stays" : " endpoints stay"));
}

// --- migrations

struct ListOptions {
  std::uint64_t past = 0;
  std::string abort;
};

Result<void> give_up(const Context& context, const std::string& id) {
  auto agent = AdminClient::connect(context.run);
  if (!agent) return tl::make_unexpected(agent.error());
  if (auto aborted = agent->abort_migration(*parse_move(id)); !aborted) return aborted;
  if (context.json) {
    print_json({{"aborted", id}});
  } else {
    print("gave up move " + id + "\n");
  }
  return {};
}

// Why it ended so, or how far it is.
std::string note_of(const MigrationInfo& move) {
  if (was_committed(move)) return "";
  return has_ended(move) ? move.abort_reason() : progress_of(move);
}

Result<void> list(const Context& context, const ListOptions& options) {
  if (!options.abort.empty()) return give_up(context, options.abort);
  auto agent = AdminClient::connect(context.run);
  if (!agent) return tl::make_unexpected(agent.error());
  const auto moves = agent->list_migrations(static_cast<std::uint32_t>(options.past));
  if (!moves) return tl::make_unexpected(moves.error());
  if (context.json) {
    Json document = Json::array();
    for (const MigrationInfo& move : *moves) document.push_back(json_of(move));
    print_json({{"migrations", document}});
    return {};
  }
  using Align = Table::Align;
  Table table({{"ID"},
               {"ENDPOINT"},
               {"FROM"},
               {"TO"},
               {"STATE"},
               {"AGO", Align::right},
               {"COPIED", Align::right},
               {"CLOSED", Align::right},
               {"TRANSFERRED", Align::right},
               {"RESTORED", Align::right},
               {"COMMITTED", Align::right},
               {"BLACKOUT", Align::right},
               {"NOTE"}});
  for (const MigrationInfo& move : *moves) {
    const auto& times = move.times();
    table.add({hex_number(move.id()), subject_of(move), move.source_node(), move.target_node(),
               move.state(), age_since(move.planned_unix_ms()), step_time(times.copied_us()),
               step_time(times.closed_us()), step_time(times.transferred_us()),
               step_time(times.restored_us()), step_time(move.committed_us()),
               step_time(times.blackout_us()), note_of(move)});
  }
  print(table.text());
  return {};
}

}  // namespace

void add_migrate_commands(CLI::App& app, Context& context) {
  const auto moving = std::make_shared<MigrateOptions>();
  CLI::App* command = add_command(
      app, context,
      {.name = "migrate",
       .summary = "Move a server to another node while its clients keep calling",
       .details =
           "With the endpoint go all that its process serves together with it. The node must "
           "have the\nprogram: configured there, or a process of it that stands by. Returns "
           "when the move has ended, 1 if\nit was aborted: then the endpoint is served where it "
           "was. Ctrl-C leaves the move going.",
       .examples = "  godwit migrate demo/kv beta\n"
                   "  godwit migrate 1:5.2 beta --timeout 30s --json | jq .migration.blackout_us"},
      [&context, moving] { return migrate(context, *moving); });
  command->add_option("endpoint", moving->endpoint, "Its name, or its id as 'godwit ls' shows it")
      ->required()
      ->type_name("DC/NAME")
      ->check(checked_by([](const std::string& text) -> Result<void> {
        if (parse_id(text)) return {};
        const auto name = EndpointName::parse(text);
        if (!name) return tl::make_unexpected(name.error());
        return {};
      }));
  add_node_name(command, "node", moving->node, "Where to");
  add_duration(command, "--timeout", moving->timeout,
               "How long to wait for its end (default: as long as it takes)",
               std::chrono::milliseconds(1));

  const auto draining = std::make_shared<DrainOptions>();
  command = add_command(
      app, context,
      {.name = "drain",
       .summary = "Move all that can move away from a node",
       .details = "Each goes to the live node that has its program and the fewest endpoints. What "
                  "stays is listed with\nthe reason. Fails if something that can move did not; "
                  "Ctrl-C leaves the moves going.",
       .examples = "  godwit drain alpha\n"
                   "  godwit drain alpha --json | jq '.stay'"},
      [&context, draining] { return drain(context, *draining); });
  add_node_name(command, "node", draining->node, "The node to be emptied");
  add_duration(command, "--timeout", draining->timeout,
               "How long to wait for the ends (default: as long as it takes)",
               std::chrono::milliseconds(1));

  const auto listing = std::make_shared<ListOptions>();
  command = add_command(
      app, context,
      {.name = "migrations",
       .summary = "List the moves under way and those of the past, or give one up",
       .details = "Times are those of the steps, as docs/migration.md names them; BLACKOUT is how "
                  "long no process\nserved. A move can be given up until it is committed.",
       .examples = "  godwit migrations\n"
                   "  godwit migrations --past 20 --json\n"
                   "  godwit migrations --abort 0675c1a3b2900001"},
      [&context, listing] { return list(context, *listing); });
  CLI::Option* past =
      add_count(command, "--past", listing->past, "Also the N newest that ended", 200);
  command->add_option("--abort", listing->abort, "Give this move up")
      ->type_name("ID")
      ->excludes(past)
      ->check(checked_by([](const std::string& text) -> Result<void> {
        if (parse_move(text)) return {};
        return fail(Errc::invalid_argument,
                    "'" + printable(text) + "' is no id of a move: 16 hexadecimal digits");
      }));
}

}  // namespace godwit::node::cli
