#include "godwit/movable.h"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <mutex>

#include "godwit/agent_link.h"
#include "godwit/migrate/fault_points.h"
#include "godwit/relocation.h"
#include "group_source.h"
#include "group_target.h"

namespace godwit {

namespace {

using migrate::GroupSource;
using migrate::GroupTarget;
using migrate::Push;
using migrate::Reason;
using migrate::Report;

using namespace std::chrono_literals;

constexpr const char* kMoveVariable = "GODWIT_MOVE";
/// An answer to a bind takes a write of the directory, and the agent gives up before this.
constexpr auto kBindPatience = 10s;

std::string program_name() {
  std::string name;
  std::ifstream("/proc/self/comm") >> name;
  return name;
}

/// The move that the agent has started this process for, 0 if it has not. Once.
std::uint64_t take_move() {
  const char* text = std::getenv(kMoveVariable);
  if (text == nullptr) return 0;
  const std::uint64_t move = std::strtoull(text, nullptr, 16);
  ::unsetenv(kMoveVariable);
  return move;
}

}  // namespace

class Movable::Impl final : public AgentLink::MoveHandler {
 public:
  Impl(Movable& self, Process& process, AgentLink& link, MovableOptions options, State* state,
       Relocation::Poster poster, std::string dc)
      : self_(self),
        process_(process),
        link_(link),
        options_(std::move(options)),
        state_(state),
        poster_(std::move(poster)),
        dc_(std::move(dc)),
        started_for_(take_move()),
        binds_(!options_.stand_by && started_for_ == 0) {
    link_.set_move_handler(this);
  }

  ~Impl() {
    link_.set_move_handler(nullptr);
    if (standing_by_) link_.stand_by(options_.program, 0, true);
    // What was not granted is not this process's to unbind.
    if (!serving_) {
      for (Endpoint& endpoint : group_) Relocation::leave(endpoint);
    }
  }

  Result<void> serve(const Wait& wait) {
    if (wait.stop().stop_requested()) return fail(Errc::cancelled);
    if (serving_) {
      const bool lost = std::any_of(group_.begin(), group_.end(), Relocation::lost);
      if (!left() && !lost) return {};
      serving_ = false;
      group_.clear();
      if (state_ != nullptr) state_->reset();
      if (lost) {
        return fail(Errc::endpoint_died, "this node was taken for lost", options_.names.front());
      }
    }
    if (std::exchange(binds_, false)) {
      // One that was left early would stand in the way of the next until the agent has undone it.
      const Wait enough(std::max(wait.until(), Wait::Clock::now() + kBindPatience), wait.stop());
      auto bound = Relocation::bind(process_, options_.names, options_.program, enough);
      if (!bound) {
        binds_ = true;
        return tl::make_unexpected(bound.error());
      }
      group_ = std::move(*bound);
      attend();
      return {};
    }
    stand_by();
    auto done = process_.run_until(
        [this] {
          while (step() && !serving_) {
          }
          return serving_;
        },
        wait);
    // Whose time is over comes again: it stays announced meanwhile.
    if (!done && done.error().code != Errc::deadline_exceeded && standing_by_) {
      standing_by_ = false;
      link_.stand_by(options_.program, 0, true);
    }
    return done;
  }

  // AgentLink::MoveHandler, on the link's thread
  void on_order(const endpoints::proto::MoveOrder& order) override {
    {
      const std::lock_guard lock(mutex_);
      orders_.push_back(order);
    }
    poster_([] {});
  }
  void on_attached() override {
    {
      const std::lock_guard lock(mutex_);
      attached_ = true;
    }
    poster_([] {});
  }

  std::vector<Endpoint>& group() noexcept { return group_; }
  bool serving() const noexcept { return serving_ && !left(); }

 private:
  bool left() const noexcept { return left_; }

  /// The endpoints serve here: moves are looked after between two requests.
  void attend() {
    serving_ = true;
    left_ = false;
    standing_by_ = false;
    started_for_ = 0;  // when it has left again, it stands by for any move
    for (Endpoint& endpoint : group_) {
      Relocation::at_rest(endpoint, [this] { return step(); });
    }
  }

  void stand_by() {
    if (standing_by_ || (target_ != nullptr && !target_->over())) return;
    standing_by_ = true;
    link_.stand_by(options_.program, started_for_, false);
  }

  bool step() {
    std::vector<endpoints::proto::MoveOrder> orders;
    bool attached = false;
    {
      const std::lock_guard lock(mutex_);
      orders.swap(orders_);
      attached = std::exchange(attached_, false);
    }
    if (attached) {
      if (source_ != nullptr && !source_->over()) source_->report();
      if (target_ != nullptr && !target_->over()) target_->report();
      if (standing_by_) link_.stand_by(options_.program, started_for_, false);
    }
    for (const auto& order : orders) carry_out(order);
    bool more = false;
    if (source_ != nullptr && !source_->over()) more = source_->step() || more;
    if (target_ != nullptr && !target_->over()) more = target_->step() || more;
    if (target_ != nullptr) more = target_->settle() || more;
    // What came meanwhile: a wait inside this step may have taken its wake-up.
    const std::lock_guard lock(mutex_);
    return more || attached_ || !orders_.empty();
  }

  void carry_out(const endpoints::proto::MoveOrder& order) {
    const auto push = static_cast<Push>(order.push());
    migrate::fault_point("order", to_string(push));
    const bool for_target = push == Push::in || push == Push::go || push == Push::drop;
    if (for_target) {
      carry_out_as_target(order, push);
    } else {
      carry_out_as_source(order, push);
    }
  }

  void carry_out_as_source(const endpoints::proto::MoveOrder& order, Push push) {
    if (source_ == nullptr || source_->move() != order.move()) {
      // `out` alone begins a move. The others are late, or of one that this process has forgotten.
      if (push == Push::resume || push == Push::gone) {
        return say(order.move(), Report::over, Reason::none);
      }
      // `cannot` is an answer that the agent acts upon: told `over` alone, it would say the same
      // again.
      if (push != Push::out || !serving_ || left_) {
        return say(order.move(), Report::cannot, Reason::not_in_move);
      }
      if (source_ != nullptr && !source_->over()) {
        return say(order.move(), Report::cannot, Reason::busy);
      }
      source_ = std::make_unique<GroupSource>(process_, link_, state_, group_, order.move(),
                                              options_.limits);
    }
    const bool had_left = source_->left();
    source_->on_order(order);
    // Not again: the endpoints may have come back since.
    if (!had_left && source_->left()) left_ = true;
  }

  void carry_out_as_target(const endpoints::proto::MoveOrder& order, Push push) {
    if (target_ == nullptr || target_->move() != order.move()) {
      if (push != Push::in) return say(order.move(), Report::over, Reason::none);
      const bool busy = (serving_ && !left_) || (target_ != nullptr && !target_->over());
      if (busy || !group_.empty()) return say(order.move(), Report::cannot, Reason::busy);
      target_ =
          std::make_unique<GroupTarget>(process_, link_, self_, state_, dc_, group_, order.move());
      standing_by_ = false;
    }
    const bool had_come = target_->serving();
    target_->on_order(order);
    if (target_->serving()) {
      // Not again: the endpoints may have left since.
      if (!had_come) attend();
    } else if (target_->over() && push == Push::drop) {
      // Still as the one that was started for that move: the agent ends it, also one that did not
      // start it itself.
      stand_by();
    }
  }

  void say(std::uint64_t move, Report report, Reason reason) {
    migrate::fault_point("report", to_string(report));
    endpoints::proto::MoveReport message;
    message.set_move(move);
    message.set_report(static_cast<std::uint32_t>(report));
    message.set_reason(static_cast<std::uint32_t>(reason));
    link_.report(message);
  }

  Movable& self_;
  Process& process_;
  AgentLink& link_;
  const MovableOptions options_;
  State* const state_;
  const Relocation::Poster poster_;
  const std::string dc_;
  std::uint64_t started_for_;
  bool binds_;  // the next serve()
  bool serving_ = false;
  bool left_ = false;
  bool standing_by_ = false;
  std::vector<Endpoint> group_;
  std::unique_ptr<GroupSource> source_;
  std::unique_ptr<GroupTarget> target_;

  std::mutex mutex_;
  std::vector<endpoints::proto::MoveOrder> orders_;
  bool attached_ = false;
};

Movable::Movable() = default;
Movable::~Movable() = default;

Result<std::unique_ptr<Movable>> Movable::create(Process& process, MovableOptions options,
                                                 State* state) {
  auto* link = dynamic_cast<AgentLink*>(&process.resolver());
  if (link == nullptr) {
    return fail(Errc::not_supported,
                "only a process that is attached to an agent can move: use Process::attach()");
  }
  if (options.names.empty()) {
    return fail(Errc::invalid_argument, "a Movable needs at least one name");
  }
  std::string dc;
  for (const std::string& full : options.names) {
    auto name = EndpointName::parse(full);
    if (!name) return tl::make_unexpected(name.error());
    if (!dc.empty() && dc != name->dc) {
      return fail(Errc::invalid_argument, "endpoints that move together are of one DC");
    }
    dc = name->dc;
  }
  if (options.program.empty()) options.program = program_name();
  auto poster = Relocation::poster(process);
  if (!poster) return tl::make_unexpected(poster.error());
  std::unique_ptr<Movable> movable(new Movable());
  movable->impl_ = std::make_unique<Impl>(*movable, process, *link, std::move(options), state,
                                          std::move(*poster), std::move(dc));
  return movable;
}

Result<void> Movable::serve(const Wait& wait) {
  return impl_->serve(wait);
}
Endpoint& Movable::endpoint(std::size_t index) {
  return impl_->group()[index];
}
std::size_t Movable::size() const noexcept {
  return impl_->group().size();
}
bool Movable::serving() const noexcept {
  return impl_->serving();
}

}  // namespace godwit
