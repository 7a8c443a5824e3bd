#include "cli/output.h"

#include <algorithm>
#include <array>
#include <cstdio>

#include "cli/units.h"

namespace godwit::node::cli {
namespace {

constexpr std::array<std::pair<const char*, double>, 4> kQuantiles = {
    {{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p99.9", 0.999}}};

// What the code alone says, where an error of a hot path carries no sentence.
std::string_view sentence(Errc code) {
  switch (code) {
    case Errc::not_found:
      return "nothing of that name is bound";
    case Errc::deadline_exceeded:
      return "the time given had passed";
    case Errc::endpoint_died:
      return "the endpoint is gone: its process or node died, or it was unbound";
    case Errc::cancelled:
      return "interrupted";
    case Errc::too_large:
      return "larger than the limit";
    case Errc::would_block:
      return "the peer takes no more at the moment";
    default:
      return "";
  }
}

std::string_view hint(const Error& error) {
  switch (error.code) {
    case Errc::agent_unavailable:
      // Most of these errors say so themselves.
      if (error.message.find("GODWIT_RUN") != std::string::npos) return "";
      return "'godwitd' starts an agent; --run or $GODWIT_RUN names the runtime directory of one";
    case Errc::not_found:
      if (error.endpoint.empty()) return "";  // no name of the directory
      return "'godwit dc ls' shows the DCs, 'godwit ls' what is bound in them";
    case Errc::name_taken:
      return "'godwit ls' and 'godwit dc ls' show who has it";
    case Errc::deadline_exceeded:
      return "is its process busy or stopped? --timeout allows for more time";
    case Errc::endpoint_died:
      return "'godwit wait NAME' returns once it is bound again";
    case Errc::unreachable:
      return "'godwit fabric' shows the transports of this machine, 'godwit ls' those that an "
             "endpoint offers";
    case Errc::wrong_key:
      return "give each node of the DC the same key: 'godwit dc key export' and 'import'";
    case Errc::permission_denied:
      return "the agent serves its own user and root; $GODWIT_RUN may name another user's";
    case Errc::version_mismatch:
      return "use programs and agents of one version of Godwit";
    case Errc::not_supported:
      return "'godwit fabric' shows what this build and machine offer";
    case Errc::no_memory:
      return "'ulimit -l' limits memory that is registered with a device; or use fewer or smaller "
             "messages";
    default:
      return "";
  }
}

}  // namespace

void print_json(const Json& document, bool one_line) {
  print(document.dump(one_line ? -1 : 2, ' ', false, Json::error_handler_t::replace) + "\n",
        one_line);
}

void Table::add(std::vector<std::string> cells) {
  cells.resize(columns_.size());
  for (std::string& cell : cells) cell = printable(cell);
  rows_.push_back(std::move(cells));
}

std::string Table::text() const {
  std::vector<std::size_t> widths;
  for (std::size_t column = 0; column < columns_.size(); ++column) {
    std::size_t widest = width(columns_[column].title);
    for (const auto& row : rows_) widest = std::max(widest, width(row[column]));
    widths.push_back(widest);
  }
  std::string result;
  const auto line = [&](const auto& cell_of) {
    std::string text;
    for (std::size_t column = 0; column < columns_.size(); ++column) {
      const std::string& cell = cell_of(column);
      const std::string blanks(widths[column] - width(cell), ' ');
      if (column > 0) text += "  ";
      text += columns_[column].align == Align::right ? blanks + cell : cell + blanks;
    }
    text.erase(text.find_last_not_of(' ') + 1);
    result += text + "\n";
  };
  line([&](std::size_t column) -> const std::string& { return columns_[column].title; });
  for (const auto& row : rows_)
    line([&](std::size_t column) -> const std::string& { return row[column]; });
  return result;
}

void print(std::string_view text, bool now) {
  // main() looks at the stream's error flag at the end.
  std::fwrite(text.data(), 1, text.size(), stdout);
  if (now) std::fflush(stdout);
}

void remark(std::string_view text) {
  const std::string line = "godwit: " + std::string(text) + "\n";
  std::fwrite(line.data(), 1, line.size(), stderr);
}

std::string describe(const Error& error) {
  Error whole = error;
  if (whole.message.empty()) whole.message = sentence(error.code);
  std::string text = "godwit: " + printable(whole.to_string()) + "\n";
  if (!hint(error).empty()) text += "hint: " + std::string(hint(error)) + "\n";
  return text;
}

std::string hex_of(Bytes bytes) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text;
  text.reserve(2 * bytes.size());
  for (const std::byte byte : bytes) {
    text += kDigits[std::to_integer<unsigned>(byte) >> 4];
    text += kDigits[std::to_integer<unsigned>(byte) & 15];
  }
  return text;
}

Json json_of(Bytes payload) {
  Json document = {{"size", payload.size()}, {"hex", hex_of(payload)}};
  const std::string_view text = godwit::text_of(payload);
  if (is_utf8(text)) document["text"] = text;
  return document;
}

Json json_of(const Histogram& latencies) {
  Json document = {
      {"count", latencies.count()}, {"min_ns", latencies.min()}, {"mean_ns", latencies.mean()}};
  for (const auto& [name, share] : kQuantiles)
    document[std::string(name) + "_ns"] = latencies.quantile(share);
  document["max_ns"] = latencies.max();
  return document;
}

std::string text_of(const Histogram& latencies) {
  std::string text = "min " + human_time(static_cast<double>(latencies.min()));
  for (const auto& [name, share] : kQuantiles)
    text +=
        std::string(", ") + name + " " + human_time(static_cast<double>(latencies.quantile(share)));
  return text + ", max " + human_time(static_cast<double>(latencies.max()));
}

}  // namespace godwit::node::cli
