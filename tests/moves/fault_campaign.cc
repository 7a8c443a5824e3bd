#include "fault_campaign.h"

#include <algorithm>
#include <cstdio>
#include <random>

#include "fault_case.h"
#include "fault_play.h"
#include "fault_stage.h"

namespace moves {

namespace {

using namespace std::chrono_literals;

enum class Verdict { passed, broken, stuck, unreached };

struct Outcome {
  Verdict verdict = Verdict::passed;
  std::string text;
};

class Campaign {
 public:
  Campaign(const Options& options, std::string planted)
      : options_(options), planted_(std::move(planted)) {}

  /// False: it cannot go on.
  bool play(const FaultCase& fault_case);
  /// The stage ends as it should.
  void finish();
  int report() const;
  bool broken() const noexcept { return broken_ != 0; }

 private:
  Result<void> raise(Ground ground);
  Outcome judge(const FaultCase& fault_case);
  Outcome failed(const FaultCase& fault_case, const godwit::Error& error);
  void note(const FaultCase& fault_case, const Outcome& outcome, double seconds);

  const Options& options_;
  const std::string planted_;
  std::unique_ptr<FaultStage> stage_;
  unsigned played_ = 0, broken_ = 0, unreached_ = 0;
  unsigned committed_ = 0, aborted_ = 0, rebound_ = 0;
  double seconds_ = 0, longest_ = 0;
};

/// A stage of the right kind, with the bank where it can be moved from.
Result<void> Campaign::raise(Ground ground) {
  if (stage_ != nullptr && stage_->ground() == ground) return {};
  finish();
  auto stage = FaultStage::start(options_, {ground, planted_});
  if (!stage) return tl::make_unexpected(stage.error());
  stage_ = std::move(*stage);
  return stage_->settle(false);
}

Outcome Campaign::failed(const FaultCase& fault_case, const godwit::Error& error) {
  // What breaks a promise may also keep clients from going on.
  const auto evidence = stage_->new_evidence(fault_case.may_lose_nodes());
  if (!evidence.empty()) return {Verdict::broken, evidence.front() + "; " + error.message};
  const bool unreached = error.code == godwit::Errc::not_found;
  return {unreached ? Verdict::unreached : Verdict::stuck, error.message};
}

Outcome Campaign::judge(const FaultCase& fault_case) {
  auto owner = stage_->owner();
  if (!owner) return failed(fault_case, owner.error());
  if (!*owner) return {Verdict::stuck, "nobody serves the bank"};
  const auto& nodes = stage_->cluster().nodes();
  const auto at = std::find(nodes.begin(), nodes.end(), (*owner)->node) - nodes.begin();
  const std::string& to = nodes[static_cast<std::size_t>(at + 1) % nodes.size()];
  const std::string& beside = nodes[static_cast<std::size_t>(at + 2) % nodes.size()];
  const auto before = stage_->last_move();
  stage_->remember_banks();
  FaultPlay play(*stage_, fault_case, (*owner)->node, to, beside);
  if (auto played = play.run(); !played) return failed(fault_case, played.error());
  if (auto settled = stage_->settle(fault_case.may_lose_memory()); !settled) {
    return failed(fault_case, settled.error());
  }
  if (const auto evidence = stage_->new_evidence(fault_case.may_lose_nodes()); !evidence.empty()) {
    return {Verdict::broken, evidence.front()};
  }
  auto now = stage_->owner();
  const auto move = stage_->last_move();
  if (!now || !*now || !before || !move) return {Verdict::stuck, "the agents do not answer"};
  const bool planned = move->id != before->id;
  (planned ? (move->state == "committed" ? committed_ : aborted_) : aborted_) += 1;
  std::string text = planned ? move->state : "not planned";
  if (!move->reason.empty() && planned) text += " (" + move->reason + ")";
  const bool stays = (*now)->pid == (*owner)->pid;
  const bool moved = (*now)->node == to;
  text += stays ? ", stayed" : moved && text.starts_with("committed") ? ", moved" : ", began anew";
  return {Verdict::passed, text + " on " + (*now)->node};
}

void Campaign::note(const FaultCase& fault_case, const Outcome& outcome, double seconds) {
  const char* word = outcome.verdict == Verdict::passed   ? "ok    "
                     : outcome.verdict == Verdict::broken ? "BROKEN"
                     : outcome.verdict == Verdict::stuck  ? "STUCK "
                                                          : "ERROR ";
  std::printf("%s %5.1f s  %s: %s\n", word, seconds, fault_case.name().c_str(),
              outcome.text.c_str());
  if (outcome.verdict != Verdict::passed && planted_.empty()) {
    std::printf("       to repeat it: godwit_moves --fault-case %s --keep\n",
                fault_case.name().c_str());
  }
  std::fflush(stdout);
}

bool Campaign::play(const FaultCase& fault_case) {
  const auto began = Clock::now();
  if (auto raised = raise(fault_case.ground); !raised) {
    std::fprintf(stderr, "godwit_moves: %s\n", raised.error().to_string().c_str());
    ++unreached_;
    return false;
  }
  const Outcome outcome = judge(fault_case);
  const double seconds = std::chrono::duration<double>(Clock::now() - began).count();
  note(fault_case, outcome, seconds);
  ++played_;
  seconds_ += seconds;
  longest_ = std::max(longest_, seconds);
  if (outcome.verdict == Verdict::passed) return true;
  outcome.verdict == Verdict::unreached ? ++unreached_ : ++broken_;
  if (planted_.empty()) {
    stage_->print_words();
    std::printf("%s", stage_->cluster().log_tail().c_str());
  }
  // What is left may be in any state.
  stage_.reset();
  return !godwit::local_cluster::interrupted();
}

void Campaign::finish() {
  if (stage_ == nullptr) return;
  auto ended = stage_->finish();
  const auto evidence = stage_->new_evidence();
  if (!evidence.empty() || !ended) {
    ++broken_;
    std::printf("BROKEN at the end: %s\n",
                evidence.empty() ? ended.error().to_string().c_str() : evidence.front().c_str());
  }
  stage_.reset();
}

int Campaign::report() const {
  std::printf("%u cases in %.0f s, %.1f s each, %.1f s at most; %u moves committed, %u not; ",
              played_, seconds_, played_ == 0 ? 0 : seconds_ / played_, longest_, committed_,
              aborted_);
  std::printf("%u failed, %u could not be played\n", broken_, unreached_);
  if (broken_ != 0) return kExitBroken;
  return unreached_ != 0 ? kExitFailed : 0;
}

/// Takes out the cases that this machine cannot play, and says why.
void skip_unsupported(std::vector<FaultCase>& cases) {
  for (const Ground ground : {Ground::network, Ground::zookeeper, Ground::ensemble}) {
    const auto on_it = [&](const FaultCase& each) { return each.ground == ground; };
    if (std::none_of(cases.begin(), cases.end(), on_it)) continue;
    const auto supported = FaultStage::supported(ground);
    if (supported) continue;
    const auto count = std::erase_if(cases, on_it);
    std::printf("skipped: %zu cases of the ground %s: %s\n", count, to_string(ground),
                supported.error().message.c_str());
  }
}

/// The decisive cases, and others by chance; none that waits for a ZooKeeper to start.
std::vector<FaultCase> choose(std::vector<FaultCase> all, unsigned count, std::uint64_t seed) {
  std::erase_if(all, [](const FaultCase& each) {
    return each.ground == Ground::zookeeper || each.ground == Ground::ensemble;
  });
  std::mt19937_64 random(seed);
  std::shuffle(all.begin(), all.end(), random);
  std::stable_partition(all.begin(), all.end(),
                        [](const FaultCase& each) { return each.decisive(); });
  const auto decisive =
      std::count_if(all.begin(), all.end(), [](const FaultCase& each) { return each.decisive(); });
  all.resize(std::min<std::size_t>(all.size(), static_cast<std::size_t>(decisive) + count));
  // One stage for each kind.
  std::stable_sort(all.begin(), all.end(),
                   [](const FaultCase& a, const FaultCase& b) { return a.ground < b.ground; });
  return all;
}

}  // namespace

void list_faults() {
  for (const FaultCase& each : all_fault_cases()) std::printf("%s\n", each.name().c_str());
}

int run_faults(const Options& options) {
  godwit::local_cluster::catch_interrupts();
  std::vector<FaultCase> cases;
  for (const std::string& name : options.fault_cases) {
    auto parsed = parse_fault_case(name);
    if (!parsed) {
      std::fprintf(stderr, "godwit_moves: %s\n", parsed.error().message.c_str());
      return kExitFailed;
    }
    cases.push_back(std::move(*parsed));
  }
  if (options.faults == "all") {
    cases = all_fault_cases();
  } else if (!options.faults.empty()) {
    const unsigned count = static_cast<unsigned>(std::strtoul(options.faults.c_str(), nullptr, 10));
    cases = choose(all_fault_cases(), count, options.seed);
  }
  skip_unsupported(cases);
  Campaign campaign(options, {});
  for (const FaultCase& each : cases) {
    if (!campaign.play(each)) break;
  }
  campaign.finish();
  return campaign.report();
}

}  // namespace moves
