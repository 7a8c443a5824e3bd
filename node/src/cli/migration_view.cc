#include "cli/migration_view.h"

#include <utility>

#include "cli/units.h"
#include "godwit/endpoint_id.h"

namespace godwit::node::cli {
namespace {

using endpoints::proto::MigrationInfo;

std::string id_of(const endpoints::proto::Place& place) {
  return EndpointId{place.dc(), place.slot(), place.generation()}.to_string();
}

Json text_or_null(const std::string& text) {
  return text.empty() ? Json() : Json(text);
}

template <typename Number>
Json number_or_null(Number number) {
  return number == 0 ? Json() : Json(number);
}

std::string bytes_text(std::uint64_t bytes) {
  return human_bytes(static_cast<double>(bytes));
}

}  // namespace

Json json_of(const MigrationInfo& move) {
  Json members = Json::array();
  for (const auto& place : move.members()) {
    members.push_back({{"name", text_or_null(place.name())},
                       {"id", id_of(place)},
                       {"lineage", hex_number(place.lineage())},
                       {"epoch", place.epoch()}});
  }
  const auto& times = move.times();
  return {{"id", hex_number(move.id())},
          {"dc", move.dc()},
          {"members", members},
          {"from", move.source_node()},
          {"to", move.target_node()},
          {"program", move.program()},
          {"state", move.state()},
          {"abort_reason", text_or_null(move.abort_reason())},
          {"aborted_by", text_or_null(move.aborted_by())},
          {"requested_by", move.requested_by()},
          {"rounds", move.progress().rounds()},
          {"sent_bytes", move.progress().bytes_sent()},
          {"left_bytes", move.progress().bytes_left()},
          {"copy_bytes_per_s", move.progress().bytes_per_second()},
          {"planned_unix_ms", number_or_null(move.planned_unix_ms())},
          {"prepared_unix_ms", number_or_null(move.prepared_unix_ms())},
          {"intent_unix_ms", number_or_null(move.intent_unix_ms())},
          {"ended_unix_ms", number_or_null(move.ended_unix_ms())},
          {"copied_us", number_or_null(times.copied_us())},
          {"closed_us", number_or_null(times.closed_us())},
          {"transferred_us", number_or_null(times.transferred_us())},
          {"restored_us", number_or_null(times.restored_us())},
          {"committed_us", number_or_null(move.committed_us())},
          {"blackout_us", number_or_null(times.blackout_us())},
          {"target_blackout_us", number_or_null(times.target_blackout_us())}};
}

bool was_committed(const MigrationInfo& move) {
  return move.state() == "committed";
}

bool has_ended(const MigrationInfo& move) {
  return was_committed(move) || move.state() == "aborted";
}

std::string subject_of(const MigrationInfo& move) {
  if (move.members_size() == 0) return move.dc();
  const auto& first = move.members(0);
  std::string text = first.name().empty() ? id_of(first) : first.name();
  if (move.members_size() > 1) {
    text += " and " + std::to_string(move.members_size() - 1) + " more";
  }
  return text;
}

std::string progress_of(const MigrationInfo& move) {
  if (move.state() == "planned") return "preparing a process on " + move.target_node();
  if (move.state() == "moving") return "handing over";
  if (has_ended(move)) return move.state();
  const auto& progress = move.progress();
  if (progress.rounds() == 0 && progress.bytes_sent() == 0) return "copying";
  std::string text = "copying: round " + std::to_string(progress.rounds()) + ", " +
                     bytes_text(progress.bytes_sent()) + " sent, " +
                     bytes_text(progress.bytes_left()) + " left";
  if (progress.bytes_per_second() > 0)
    text += ", " + bytes_text(progress.bytes_per_second()) + "/s";
  return text;
}

std::string step_time(std::uint64_t us) {
  return us == 0 ? "-" : human_time(static_cast<double>(us) * 1000);
}

std::string summary_of(const MigrationInfo& move) {
  std::string text = was_committed(move) ? "moved " : "did not move ";
  text += printable(subject_of(move) + " from " + move.source_node() + " to " + move.target_node());
  if (!was_committed(move)) {
    return text + ": aborted by " + printable(move.aborted_by() + ": " + move.abort_reason()) +
           "\n";
  }
  const auto& times = move.times();
  // The target's part is better than nothing.
  const std::uint64_t blackout =
      times.blackout_us() > 0 ? times.blackout_us() : times.target_blackout_us();
  if (blackout > 0) text += ": blackout " + step_time(blackout);
  if (move.progress().bytes_sent() > 0) {
    text += std::string(blackout > 0 ? ", " : ": ") + bytes_text(move.progress().bytes_sent()) +
            " in " + std::to_string(move.progress().rounds()) +
            (move.progress().rounds() == 1 ? " round" : " rounds");
  }
  text += "\n";
  std::string steps;
  for (const auto& [name, us] :
       {std::pair("copied", times.copied_us()), std::pair("closed", times.closed_us()),
        std::pair("transferred", times.transferred_us()),
        std::pair("restored", times.restored_us()), std::pair("committed", move.committed_us())}) {
    if (us > 0) steps += (steps.empty() ? "steps: " : ", ") + (name + (" " + step_time(us)));
  }
  return steps.empty() ? text : text + steps + "\n";
}

}  // namespace godwit::node::cli
