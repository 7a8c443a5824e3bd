#include "report.h"

#include <algorithm>
#include <array>
#include <cstdio>

namespace demo {

namespace {

template <typename... Values>
std::string format(const char* pattern, Values... values) {
  std::array<char, 512> text;
  const int size = std::snprintf(text.data(), text.size(), pattern, values...);
  return {text.data(), std::min(static_cast<std::size_t>(size), text.size() - 1)};
}

std::string grouped(std::uint64_t number) {
  std::string digits = std::to_string(number);
  for (std::size_t at = digits.size(); at > 3; at -= 3) digits.insert(at - 3, ",");
  return digits;
}

std::string duration(std::uint64_t ns) {
  if (ns < 10'000) return format("%.2f us", double(ns) / 1e3);
  if (ns < 10'000'000) return format("%.1f us", double(ns) / 1e3);
  return format("%.1f ms", double(ns) / 1e6);
}

std::string milliseconds(double ms) {
  return ms < 0 ? "never" : format("%.1f ms", ms);
}

std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (const char each : text) {
    if (each == '"' || each == '\\') {
      out += '\\';
      out += each;
    } else if (static_cast<unsigned char>(each) < 0x20) {
      out += format("\\u%04x", static_cast<unsigned>(each));
    } else {
      out += each;
    }
  }
  return out + '"';
}

template <typename Row, typename Print>
std::string json_list(const std::vector<Row>& rows, Print print) {
  std::string out = "[";
  for (const Row& row : rows) {
    if (out.size() > 1) out += ",";
    out += "\n    " + print(row);
  }
  return out + (rows.empty() ? "]" : "\n  ]");
}

}  // namespace

bool Report::all_kept() const {
  for (const Promise& each : promises) {
    if (!each.kept) return false;
  }
  return !promises.empty();
}

std::string Report::to_text() const {
  std::string out;
  if (!traffic.empty()) {
    out += format("\n%-10s %-26s %9s %12s %12s %10s %10s %10s\n", "transport", "calls from -> to",
                  "in flight", "calls", "calls/s", "p50", "p99", "max");
    for (const TrafficRow& row : traffic) {
      out += format("%-10s %-26s %9u %12s %12s %10s %10s %10s\n", row.transport.c_str(),
                    row.way.c_str(), row.in_flight, grouped(row.calls).c_str(),
                    grouped(static_cast<std::uint64_t>(row.per_second)).c_str(),
                    duration(row.p50_ns).c_str(), duration(row.p99_ns).c_str(),
                    duration(row.max_ns).c_str());
    }
  }
  if (!copies.empty()) {
    out += format("\n%-10s %-26s %9s %12s\n", "transport", "bulk copy from -> to", "MiB", "GB/s");
    for (const CopyRow& row : copies) {
      out += format("%-10s %-26s %9.0f %12.2f\n", row.transport.c_str(), row.way.c_str(),
                    double(row.bytes) / (1 << 20), row.gigabytes_per_second);
    }
  }
  if (!deaths.empty()) {
    out += format("\n%-10s %-26s %16s %22s\n", "node", "client of the killed server", "told after",
                  "successor answered");
    for (const DeathRow& row : deaths) {
      out += format("%-10s %-26s %16s %22s\n", row.node.c_str(), row.client.c_str(),
                    milliseconds(row.told_ms).c_str(), milliseconds(row.successor_ms).c_str());
    }
  }
  if (!cuts.empty()) {
    out += format("\n%-10s %-26s %6s %14s %12s %6s %8s %14s\n", "node", "carried by, in turn",
                  "cuts", "sent", "of them calls", "lost", "doubled", "longest pause");
    for (const CutRow& row : cuts) {
      out += format("%-10s %-26s %6s %14s %12s %6s %8s %14s\n", row.node.c_str(), row.path.c_str(),
                    grouped(row.cuts).c_str(), grouped(row.written).c_str(),
                    grouped(row.calls).c_str(), grouped(row.lost).c_str(),
                    grouped(row.doubled).c_str(), milliseconds(row.longest_pause_ms).c_str());
    }
  }
  if (!moves.empty()) {
    out +=
        format("\n%-16s %10s %7s %10s %12s %12s %22s %12s\n", "moved under load", "MiB state",
               "rounds", "MiB sent", "copied in", "gate shut", "pause seen: of half", "of worst");
    for (const MoveRow& row : moves) {
      out += format("%-16s %10u %7u %10.1f %12s %12s %22s %12s\n",
                    (row.from + " -> " + row.to).c_str(), row.mebibytes, row.rounds,
                    double(row.bytes_sent) / (1 << 20), milliseconds(row.copy_ms).c_str(),
                    milliseconds(row.gate_ms).c_str(), milliseconds(row.median_pause_ms).c_str(),
                    milliseconds(row.longest_pause_ms).c_str());
    }
    out +=
        "  gate shut: nobody serves; pause seen: a client's longest time without a reply, the "
        "copying included\n";
  }
  out += "\n";
  for (const std::string& note : notes) out += "note: " + note + "\n";
  for (const Promise& each : promises) {
    out += format("%-7s %-62s ", each.kept ? "ok" : "BROKEN", each.text.c_str());
    out += each.evidence + "\n";
  }
  return out;
}

std::string Report::to_json() const {
  std::string out = "{\n  \"kept\": ";
  out += all_kept() ? "true" : "false";
  out += ",\n  \"traffic\": " + json_list(traffic, [](const TrafficRow& row) {
           return "{\"transport\": " + quoted(row.transport) + ", \"way\": " + quoted(row.way) +
                  format(
                      ", \"in_flight\": %u, \"calls\": %llu, \"per_second\": %.0f, "
                      "\"p50_ns\": %llu, \"p99_ns\": %llu, \"max_ns\": %llu}",
                      row.in_flight, static_cast<unsigned long long>(row.calls), row.per_second,
                      static_cast<unsigned long long>(row.p50_ns),
                      static_cast<unsigned long long>(row.p99_ns),
                      static_cast<unsigned long long>(row.max_ns));
         });
  out += ",\n  \"copies\": " + json_list(copies, [](const CopyRow& row) {
           return "{\"transport\": " + quoted(row.transport) + ", \"way\": " + quoted(row.way) +
                  format(", \"bytes\": %llu, \"gigabytes_per_second\": %.3f}",
                         static_cast<unsigned long long>(row.bytes), row.gigabytes_per_second);
         });
  out += ",\n  \"deaths\": " + json_list(deaths, [](const DeathRow& row) {
           return "{\"node\": " + quoted(row.node) + ", \"client\": " + quoted(row.client) +
                  format(", \"told_ms\": %.3f, \"successor_ms\": %.3f}", row.told_ms,
                         row.successor_ms);
         });
  out += ",\n  \"cuts\": " + json_list(cuts, [](const CutRow& row) {
           return "{\"node\": " + quoted(row.node) + ", \"path\": " + quoted(row.path) +
                  format(
                      ", \"cuts\": %llu, \"sent\": %llu, \"calls\": %llu, \"lost\": %llu, "
                      "\"doubled\": %llu, \"longest_pause_ms\": %.3f}",
                      static_cast<unsigned long long>(row.cuts),
                      static_cast<unsigned long long>(row.written),
                      static_cast<unsigned long long>(row.calls),
                      static_cast<unsigned long long>(row.lost),
                      static_cast<unsigned long long>(row.doubled), row.longest_pause_ms);
         });
  out +=
      ",\n  \"moves\": " + json_list(moves, [](const MoveRow& row) {
        return "{\"from\": " + quoted(row.from) + ", \"to\": " + quoted(row.to) +
               format(
                   ", \"mebibytes\": %u, \"rounds\": %u, \"bytes_sent\": %llu, \"copy_ms\": %.3f, "
                   "\"gate_ms\": %.3f, \"median_pause_ms\": %.3f, \"longest_pause_ms\": %.3f}",
                   row.mebibytes, row.rounds, static_cast<unsigned long long>(row.bytes_sent),
                   row.copy_ms, row.gate_ms, row.median_pause_ms, row.longest_pause_ms);
      });
  out += ",\n  \"notes\": " + json_list(notes, quoted);
  out += ",\n  \"promises\": " + json_list(promises, [](const Promise& each) {
           return "{\"promise\": " + quoted(each.text) +
                  ", \"kept\": " + (each.kept ? "true" : "false") +
                  ", \"evidence\": " + quoted(each.evidence) + "}";
         });
  return out + "\n}\n";
}

}  // namespace demo
