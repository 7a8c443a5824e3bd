// What commands print: tables for people, JSON for programs, errors for both.
//
// Results go to standard output and nothing else does; remarks and errors go to standard error.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "cli/histogram.h"
#include "godwit/error.h"
#include "godwit/message.h"

namespace godwit::node::cli {

/// Keeps members in the order in which they were set.
using Json = nlohmann::ordered_json;

/// Prints a document and a newline; text that is no UTF-8 has its bad bytes replaced by U+FFFD.
/// `lines`: on one line, for commands that print one after another.
void print_json(const Json& document, bool one_line = false);

/// A table with aligned columns. Cells are made printable().
class Table {
 public:
  enum class Align { left, right };
  struct Column {
    std::string title;
    Align align = Align::left;
  };

  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}
  /// As many cells as there are columns.
  void add(std::vector<std::string> cells);
  /// One line for each row, below the titles; no blank at the end of a line.
  std::string text() const;

 private:
  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

/// Text to standard output; it leaves at once when `now`, for a reader that follows.
void print(std::string_view text, bool now = false);
/// "godwit: TEXT" to standard error.
void remark(std::string_view text);

/// "godwit: CODE: sentence", and a hint of what to do where there is one. For standard error.
std::string describe(const Error& error);

/// A payload in JSON: its size, its bytes in hexadecimal and, where they are UTF-8, as text.
Json json_of(Bytes payload);
std::string hex_of(Bytes bytes);

/// {"count": N, "min_ns": ..., "mean_ns", "p50_ns", "p90_ns", "p99_ns", "p99.9_ns", "max_ns"}
Json json_of(const Histogram& latencies);
/// The same on one line, for people.
std::string text_of(const Histogram& latencies);

}  // namespace godwit::node::cli
