// Planted faults: which case exposes which broken rule.
#include <algorithm>
#include <cstdio>

#include "fault_campaign.h"
#include "fault_case.h"
#include "fault_play.h"
#include "fault_stage.h"

namespace moves {

namespace {

struct Planted {
  const char* name;
  const char* exposed_by;  // empty: a move in which nothing goes wrong
  int attempts;
};

constexpr Planted kPlanted[] = {
    // The source aborts meanwhile and serves again; then the commit comes all the same.
    {"commit-unchecked", "target.agent:write.commit.before:hold", 1},
    // The target serves, and then the source, which has aborted.
    {"grant-before-commit", "target.agent:write.commit.before:hold", 1},
    // The source has learnt of the commit, and serves on before the target is granted.
    {"resume-old-copy", "target.agent:write.commit.after:hold", 1},
    // Whether a client has a request or an answer under way at the close is chance.
    {"duplicates-not-moved", "", 60},
};

constexpr auto kLook = std::chrono::milliseconds(500);

/// Plays the case once; what was found, empty if nothing.
Result<std::string> attempt(FaultStage& stage, const FaultCase& fault_case) {
  const auto owner = stage.owner();
  if (!owner) return tl::make_unexpected(owner.error());
  if (!*owner) return std::string("nobody serves the bank");
  const auto& nodes = stage.cluster().nodes();
  const auto at = static_cast<std::size_t>(std::find(nodes.begin(), nodes.end(), (*owner)->node) -
                                           nodes.begin());
  FaultPlay play(stage, fault_case, (*owner)->node, nodes[(at + 1) % nodes.size()],
                 nodes[(at + 2) % nodes.size()]);
  auto ran = play.run();
  // What breaks a promise may also keep clients from going on: it is looked for before they are
  // waited for.
  auto evidence = stage.new_evidence();
  const auto limit = Clock::now() + kLook;
  while (evidence.empty() && ran && Clock::now() < limit) {
    ran = stage.conductor().crew().run_until(
        [until = Clock::now() + kLook / 10] { return Clock::now() > until; }, kLook * 10);
    evidence = stage.new_evidence();
  }
  if (evidence.empty() && ran) {
    ran = stage.settle(false);
    evidence = stage.new_evidence();
  }
  if (!evidence.empty()) return evidence.front();
  if (!ran) return tl::make_unexpected(ran.error());
  return std::string();
}

}  // namespace

int run_planted(const Options& options) {
  godwit::local_cluster::catch_interrupts();
  const auto* planted =
      std::find_if(std::begin(kPlanted), std::end(kPlanted),
                   [&](const Planted& each) { return options.planted == each.name; });
  if (planted == std::end(kPlanted)) {
    std::fprintf(stderr, "godwit_moves: no planted fault '%s'; there are", options.planted.c_str());
    for (const Planted& each : kPlanted) std::fprintf(stderr, " %s", each.name);
    std::fprintf(stderr, "\n");
    return kExitFailed;
  }
  FaultCase fault_case;
  if (*planted->exposed_by != '\0') fault_case = *parse_fault_case(planted->exposed_by);
  auto stage = FaultStage::start(options, {Ground::plain, options.planted});
  Result<void> ready;
  if (!stage) {
    ready = tl::make_unexpected(stage.error());
  } else {
    ready = (*stage)->settle(false);
  }
  for (int i = 0; ready && i < planted->attempts; ++i) {
    auto found = attempt(**stage, fault_case);
    if (found && !found->empty()) {
      std::printf("found %s: %s\n", planted->name, found->c_str());
      return kExitBroken;
    }
    if (!found) ready = tl::make_unexpected(found.error());
  }
  if (!ready) {
    std::fprintf(stderr, "godwit_moves: %s\n", ready.error().to_string().c_str());
    return kExitFailed;
  }
  std::printf("%s is broken, and nothing shows it\n", planted->name);
  return 0;
}

}  // namespace moves
