#include "group_target.h"

#include <algorithm>
#include <thread>

#include "godwit/migrate/fault_points.h"
#include "godwit/relocation.h"

namespace godwit::migrate {

namespace {

using namespace std::chrono_literals;

constexpr auto kBindPatience = 5s;
constexpr auto kSettled = 20ms;
/// In how many parts it attaches to the peers: between two it looks whether the gate may open.
constexpr std::size_t kReceiveParts = 16;
/// From the gate's opening until the agent is told of it.
constexpr auto kTellDelay = 1ms;

Reason reason_of(const Error& error) {
  return error.code == Errc::protocol_error ? Reason::bad_manifest : Reason::load_failed;
}

std::uint64_t us(GroupTarget::Clock::duration time) {
  return static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::microseconds>(time).count());
}

}  // namespace

GroupTarget::GroupTarget(Process& process, AgentLink& link, Movable& movable, State* state,
                         std::string dc, std::vector<Endpoint>& group, std::uint64_t move)
    : process_(process),
      link_(link),
      movable_(movable),
      state_(state),
      dc_(std::move(dc)),
      group_(group),
      move_(move),
      stream_(move) {}

void GroupTarget::on_order(const endpoints::proto::MoveOrder& order) {
  const auto push = static_cast<Push>(order.push());
  act(machine_.on_push(push, order.epoch()));
  if (push == Push::drop) dock_.reset();
}

bool GroupTarget::step() {
  if (receiving_) return receive_peers();
  if (!dock_ || machine_.state() != TargetProcess::State::docked) return false;
  bool more = false;
  while (machine_.state() == TargetProcess::State::docked) {
    auto message = dock_->receive(0ms);
    if (!message) break;
    more = true;
    if (!source_) source_ = message->source();
    if (message->source() != source_) continue;
    auto fed = stream_.feed(message->payload(), [this](const ItemHeader& header, Bytes bytes) {
      return take(header, bytes);
    });
    if (!fed) {
      fail_with(reason_of(fed.error()), fed.error());
    } else if (stream_.complete()) {
      arrived_ = Clock::now();
      fault_point("state.loaded");
      if (auto installed = install(); !installed) {
        fail_with(reason_of(installed.error()), installed.error());
      } else {
        times_.set_restored_us(us(Clock::now() - arrived_));
        act(machine_.on_manifest(true, stream_.manifest().epoch));
        receiving_ = true;
        // The agent goes first, should it wait for this processor: all wait for its write.
        std::this_thread::yield();
      }
    }
  }
  return more;
}

/// Attaches to some of the peers, while the agent writes the commit.
bool GroupTarget::receive_peers() {
  receiving_ = false;
  if (machine_.state() != TargetProcess::State::restored) return false;
  for (Endpoint& endpoint : group_) {
    receiving_ = Relocation::receive_peers(endpoint, kReceiveParts) || receiving_;
  }
  return receiving_;
}

Result<void> GroupTarget::take(const ItemHeader& header, Bytes bytes) {
  switch (header.type) {
    case ItemType::version:
      version_ = header.kind;
      return {};
    case ItemType::record:
      if (state_ == nullptr) {
        return fail(Errc::invalid_argument, "this program has no state, but state arrived");
      }
      return state_->load(version_, header.kind, bytes);
    case ItemType::image:
      images_.emplace_back(text_of(bytes));
      return {};
    case ItemType::intent:
      // The agent has to read it before it can commit.
      intent_ = text_of(bytes);
      report();
      return {};
    case ItemType::peer:
      return Relocation::acquaint(process_, header.kind, text_of(bytes));
    case ItemType::manifest:
      break;
  }
  return fail(Errc::protocol_error, "an item of unknown type");
}

Result<void> GroupTarget::install() {
  if (images_.size() != stream_.manifest().members || images_.empty()) {
    return fail(Errc::protocol_error, "not all endpoints arrived");
  }
  for (const std::string& image : images_) {
    auto endpoint = Relocation::install(process_, image);
    if (!endpoint) return tl::make_unexpected(endpoint.error());
    group_.push_back(std::move(*endpoint));
  }
  images_.clear();
  return state_ != nullptr ? state_->loaded(movable_) : Result<void>{};
}

void GroupTarget::act(const ProcessActions& actions) {
  using Kind = ProcessAction::Kind;
  for (const ProcessAction& action : actions) {
    switch (action.kind) {
      case Kind::bind_dock: {
        auto dock = process_.bind_anonymous(dc_, kBindPatience);
        if (!dock) {
          fail_with(Reason::start_failed, dock.error());
        } else {
          dock_ = std::move(*dock);
          act(machine_.on_docked());
        }
        break;
      }
      case Kind::open_gate: {
        Epoch epoch = 0;
        for (const Endpoint& endpoint : group_) {
          epoch = std::max(epoch, Relocation::epoch(endpoint));
        }
        const Epoch rise = action.epoch - epoch;
        for (Endpoint& endpoint : group_) {
          Relocation::open(endpoint, Relocation::epoch(endpoint) + rise);
          EndpointPlace place = Relocation::place(endpoint);
          place.node = link_.node();
          place.process = link_.process();
          link_.adopt(place);
        }
        times_.set_target_blackout_us(us(Clock::now() - arrived_));
        fault_point("gate.opened");
        opened_ = Clock::now();
        break;
      }
      case Kind::forget:
        forget();
        break;
      case Kind::report:
        untold_ = action.report == Report::over && serving();
        if (!untold_) tell(action.report, action.reason);
        break;
      default:
        break;
    }
  }
}

/// The agent is told a little later, and the dock is unbound later still: it would take a processor
/// and the directory's time from the clients that come back.
bool GroupTarget::settle() {
  if (!serving()) return false;
  const auto since = Clock::now() - opened_;
  if (untold_ && since >= kTellDelay) {
    untold_ = false;
    report();
  }
  if (dock_ && since >= kSettled) dock_.reset();
  return untold_;
}

/// The dock stays until the agent says `drop`: were its end the first that the source hears of, the
/// move would be given up for that, and nobody would learn the reason.
void GroupTarget::forget() {
  for (Endpoint& endpoint : group_) Relocation::leave(endpoint);
  group_.clear();
  images_.clear();
  if (state_ != nullptr) state_->reset();
}

void GroupTarget::fail_with(Reason reason, const Error& error) {
  text_ = error.to_string();
  act(machine_.on_failed(reason));
}

void GroupTarget::report() {
  tell(machine_.report(), machine_.reason());
}

void GroupTarget::tell(Report report, Reason reason) {
  endpoints::proto::MoveReport message;
  fault_point("report", to_string(report));
  message.set_move(move_);
  message.set_report(static_cast<std::uint32_t>(report));
  message.set_reason(static_cast<std::uint32_t>(reason));
  if (report == Report::cannot) message.set_text(text_);
  if (dock_) {
    auto& dock = *message.mutable_dock();
    dock.set_dc(dock_->id().dc);
    dock.set_slot(dock_->id().slot);
    dock.set_generation(dock_->id().generation);
  }
  if (report == Report::restored) {
    for (const Endpoint& endpoint : group_) {
      message.add_engine_addresses(Relocation::place(endpoint).engine_address);
    }
  }
  if (report == Report::docked || report == Report::restored) message.set_intent(intent_);
  *message.mutable_times() = times_;
  link_.report(message);
}

}  // namespace godwit::migrate
