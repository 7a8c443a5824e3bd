// The checker: merges the histories of all actors and says which rule each of them breaks. It
// trusts nothing but the histories. A pure function; any thread.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "history.h"

namespace audit {

enum class Rule : std::uint8_t {
  lost,             // accepted and never executed, though nobody died; or a gap; or ok unexecuted
  doubled,          // executed twice, by one actor or by two
  reordered,        // executed after a later one of the same sender
  phantom,          // executed and never issued
  broken_word,      // executed although the caller was told `not executed`
  outcome_missing,  // a call without an outcome
  outcome_twice,    // a call with two
  unknown_unasked,  // `outcome unknown` or `not executed` though nobody died
  broken_history,   // the history itself is not possible
};
inline constexpr std::size_t kRules = 9;
std::string_view to_string(Rule rule) noexcept;

struct Violation {
  Rule rule;
  std::string text;
};

struct Verdict {
  std::uint64_t operations = 0, executed = 0;
  std::uint64_t calls = 0, ok = 0, not_executed = 0, unknown = 0;
  std::size_t pairs = 0;
  std::array<std::uint64_t, kRules> broken{};  // numbers concerned, by rule
  std::vector<Violation> violations;           // the first of each rule and pair

  bool sound() const noexcept { return violations.empty(); }
};

/// A worker of which there are several actors, or an actor that is not clean, has died: then what
/// was on its way may be lost or of unknown outcome. All other rules hold all the same.
Verdict check(const std::vector<History>& histories);

}  // namespace audit
