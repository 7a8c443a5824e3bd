#include "group_source.h"

#include <algorithm>
#include <utility>

#include "godwit/endpoints/image.pb.h"
#include "godwit/migrate/fault_points.h"
#include "godwit/relocation.h"

namespace godwit::migrate {

namespace {

using namespace std::chrono_literals;
using Clock = GroupSource::Clock;

/// What save() may add before it is told to return.
constexpr std::size_t kSlice = 2 * StreamWriter::kPiece;
/// What is not worth another round: well below a millisecond on any network.
constexpr std::uint64_t kLittle = 64 << 10;
constexpr auto kProgressInterval = 200ms;
/// How long a closing server looks again and again whether it is quiet.
constexpr auto kHurry = 2ms;
/// From the word to the target's agent that the intent is written, until the gate is shut: what
/// that agent does meanwhile, the clients need not wait for.
constexpr auto kHeadsUp = 500us;
/// Between two looks at who the peers are: each costs a look at every channel.
constexpr auto kIntroduceInterval = 5ms;
constexpr auto kDockPatience = 2s;

Epoch epoch_of(const std::vector<Endpoint>& group) {
  Epoch epoch = 0;
  for (const Endpoint& endpoint : group) epoch = std::max(epoch, Relocation::epoch(endpoint));
  return epoch;
}

/// The planted fault `duplicates-not-moved`: an image without the requests that were answered last,
/// and without the answers.
void forget_last_answers(std::string& image) {
  endpoints::proto::EndpointImage parsed;
  if (!parsed.ParseFromString(image)) return;
  for (auto& channel : *parsed.mutable_channels()) {
    if (channel.incoming_size() < 1 || channel.outgoing_size() < 2) continue;
    auto& answers = *channel.mutable_outgoing(1);
    auto& requests = *channel.mutable_incoming(0);
    const auto count = static_cast<std::uint32_t>(answers.retained_size());
    requests.set_received(requests.received() - count);
    answers.clear_retained();
  }
  image = parsed.SerializeAsString();
}

std::uint64_t us(Clock::duration time) {
  return static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::microseconds>(time).count());
}

}  // namespace

GroupSource::GroupSource(Process& process, AgentLink& link, State* state,
                         std::vector<Endpoint>& group, std::uint64_t move, const Limits& limits)
    : process_(process),
      link_(link),
      state_(state),
      group_(group),
      move_(move),
      machine_(epoch_of(group), limits) {}

void GroupSource::on_order(const endpoints::proto::MoveOrder& order) {
  if (order.has_dock()) {
    dock_ = {order.dock().dc(), order.dock().slot(), order.dock().generation()};
  }
  const auto push = static_cast<Push>(order.push());
  const auto now = Clock::now();
  if (push != Push::out) close_at_ = {};
  if (push == Push::close && announce(order.intent())) {
    close_at_ = now + kHeadsUp;
  } else {
    act(machine_.on_push(push, order.epoch(), now));
  }
}

/// True: the target is told of the intent, for its agent, and the gate stays open a little longer.
bool GroupSource::announce(const std::string& intent) {
  if (intent.empty() || !copying_ || !stream_ || std::exchange(announced_, true)) return false;
  stream_->item(ItemType::intent, 0, bytes_of(intent));
  const auto sent = send_pieces(0);
  if (sent) process_.flush();
  return sent && *sent;
}

bool GroupSource::step() {
  bool more = false;
  if (close_at_ != Clock::time_point{}) {
    more = Clock::now() < close_at_;
    if (!more) {
      close_at_ = {};
      act(machine_.on_push(Push::close, 0, Clock::now()));
    }
  }
  if (machine_.deadline() <= Clock::now()) act(machine_.on_time(Clock::now()));
  if (copying_) more = copy() || more;
  if (machine_.state() == SourceProcess::State::closing) {
    const bool quiet = std::all_of(group_.begin(), group_.end(), [](const Endpoint& endpoint) {
      return Relocation::busy(endpoint).empty();
    });
    if (quiet) act(machine_.on_quiet());
    // The clients wait: no sleep while the last requests are answered.
    more = more || quiet || Clock::now() - closed_ < kHurry;
  }
  return more;
}

void GroupSource::act(const ProcessActions& actions) {
  using Kind = ProcessAction::Kind;
  for (const ProcessAction& action : actions) {
    switch (action.kind) {
      case Kind::copy:
        copying_ = true;
        round_saved_ = 0;
        round_goal_ = stream_ && state_ != nullptr ? state_->unsaved() : 0;
        break;
      case Kind::stop_copy:
        copying_ = false;
        stream_.reset();
        introduced_.clear();
        break;
      case Kind::shut_gate:
        copying_ = false;
        shut_ = true;
        closed_ = Clock::now();
        times_.set_copied_us(us(closed_ - began_));
        for (Endpoint& endpoint : group_) Relocation::shut(endpoint);
        break;
      case Kind::send_rest:
        quiet_ = Clock::now();
        times_.set_closed_us(us(quiet_ - closed_));
        if (auto sent = send_rest(); !sent) {
          fail_with(Reason::transfer_failed, sent.error());
        } else {
          times_.set_transferred_us(us(Clock::now() - quiet_));
          act(machine_.on_sent());
        }
        break;
      case Kind::park:
        // Making the images has parked the endpoints. After a failure before that, the gate stays
        // shut, and what still runs may end.
        break;
      case Kind::open_gate: {
        // Each member rises by as much as the group does.
        const Epoch rise = action.epoch - epoch_of(group_);
        for (Endpoint& endpoint : group_) {
          Relocation::open(endpoint, Relocation::epoch(endpoint) + rise);
          EndpointPlace place = Relocation::place(endpoint);
          place.node = link_.node();
          place.process = link_.process();
          link_.adopt(place);
        }
        if (shut_) times_.set_blackout_us(us(Clock::now() - closed_));
        if (std::exchange(shut_, false)) fault_point("gate.opened");
        images_.clear();
        break;
      }
      case Kind::leave:
        // A copy that wakes serves, though the endpoints are another's.
        if (planted("resume-old-copy")) {
          for (Endpoint& endpoint : group_) {
            Relocation::open(endpoint, Relocation::epoch(endpoint) + 1);
          }
          break;
        }
        for (Endpoint& endpoint : group_) {
          link_.relinquish(endpoint.id());
          Relocation::leave(endpoint);
        }
        images_.clear();
        break;
      case Kind::report:
        tell(action.report, action.reason);
        break;
      default:
        break;
    }
  }
  // The ferry goes last: it may take a moment to go.
  if (machine_.over()) ferry_.reset();
}

void GroupSource::fail_with(Reason reason, const Error& error) {
  copying_ = false;
  text_ = error.to_string();
  act(machine_.on_failed(reason));
}

void GroupSource::report() {
  tell(machine_.report(), machine_.reason());
}

void GroupSource::tell(Report report, Reason reason) {
  endpoints::proto::MoveReport message;
  fault_point("report", to_string(report));
  message.set_move(move_);
  message.set_report(static_cast<std::uint32_t>(report));
  message.set_reason(static_cast<std::uint32_t>(reason));
  if (report == Report::cannot) {
    std::string text = text_;
    if (reason == Reason::not_quiet) {
      for (const Endpoint& endpoint : group_) text += Relocation::busy(endpoint);
    }
    message.set_text(text);
  }
  auto& progress = *message.mutable_progress();
  progress.set_rounds(rounds_);
  progress.set_bytes_sent(sent_);
  progress.set_bytes_left((stream_ ? stream_->pending() : 0) +
                          (state_ != nullptr ? state_->unsaved() : 0));
  if (began_ != Clock::time_point{}) {
    const double seconds = std::chrono::duration<double>(Clock::now() - began_).count();
    progress.set_bytes_per_second(
        static_cast<std::uint64_t>(static_cast<double>(sent_) / std::max(seconds, 1e-6)));
  }
  *message.mutable_times() = times_;
  link_.report(message);
  told_ = Clock::now();
}

// --- the stream --------------------------------------------------------------------------------

void GroupSource::put(std::uint32_t kind, Bytes record) {
  stream_->item(ItemType::record, kind, record);
  round_saved_ += record.size();
}

bool GroupSource::full() const {
  return !resting_ && stream_->pending() >= kSlice;
}

Result<void> GroupSource::find_dock() {
  auto name = EndpointName::parse(group_.front().name());
  if (!name) return tl::make_unexpected(name.error());
  auto ferry = process_.bind_anonymous(name->dc, kDockPatience);
  if (!ferry) return tl::make_unexpected(ferry.error());
  auto dock = ferry->lookup(dock_, kDockPatience);
  if (!dock) return tl::make_unexpected(dock.error());
  ferry_ = std::move(*ferry);
  to_ = *dock;
  return {};
}

void GroupSource::begin_copy() {
  fault_point("copy.round");
  began_ = Clock::now();
  if (auto found = find_dock(); !found) return fail_with(Reason::transfer_failed, found.error());
  stream_.emplace(move_);
  if (state_ != nullptr) state_->begin();
  stream_->item(ItemType::version, state_ != nullptr ? state_->version() : 0, {});
  round_goal_ = state_ != nullptr ? state_->unsaved() : 0;
}

/// Names the peers to the target, so that it is connected with them before the gate is shut.
void GroupSource::introduce() {
  if (Clock::now() < introduce_at_) return;
  for (Endpoint& endpoint : group_) {
    for (const std::string& address : Relocation::peers(endpoint)) {
      if (!introduced_.insert(address).second) continue;
      stream_->item(ItemType::peer, endpoint.id().dc, bytes_of(address));
    }
  }
  introduce_at_ = Clock::now() + kIntroduceInterval;
}

/// Sends what there is, as far as it goes without waiting. False: the way is full.
Result<bool> GroupSource::send_pieces(std::size_t least) {
  for (Bytes piece = stream_->piece(least); !piece.empty(); piece = stream_->piece(least)) {
    auto sent = ferry_->try_send(to_, piece);
    if (!sent) {
      const bool full =
          sent.error().code == Errc::would_block || sent.error().code == Errc::no_memory;
      if (full) return false;
      return tl::make_unexpected(sent.error());
    }
    sent_ += piece.size();
    stream_->sent();
  }
  return true;
}

/// A slice of a round, between two requests.
bool GroupSource::copy() {
  if (!stream_) begin_copy();
  if (!stream_ || !copying_) return false;
  if (Clock::now() - told_ >= kProgressInterval) report();
  introduce();
  // Once little is left, what changes meanwhile is for the rest, unless it becomes much: each
  // message would take a turn of the processors from the agents that are to end this.
  const bool converged = machine_.state() == SourceProcess::State::converged;
  const bool enough = state_ != nullptr && state_->unsaved() > (converged ? kLittle / 2 : 0);
  if (enough && !full()) {
    if (auto done = state_->save(*this); !done) {
      fail_with(Reason::transfer_failed, done.error());
      return false;
    }
  }
  const std::uint64_t unsaved = state_ != nullptr ? state_->unsaved() : 0;
  const bool little = unsaved <= kLittle;
  auto sent = send_pieces(little ? 0 : StreamWriter::kPiece);
  if (!sent) {
    fail_with(Reason::transfer_failed, sent.error());
    return false;
  }
  if (!*sent) return false;  // an acknowledgement wakes the engine
  if (converged) {
    if (unsaved > kLittle / 2) return true;
    // Where nothing is sent, nothing else tells that the dock is lost.
    auto told = ferry_->receive_from(to_, 0ms);
    if (!told && told.error().code != Errc::deadline_exceeded) {
      fail_with(Reason::transfer_failed, told.error());
    }
    return false;
  }
  if (!little && round_saved_ < round_goal_) return true;
  // What lies on the way counts as not copied yet: the clients would wait for it.
  if (little) {
    if (auto taken = ferry_->wait_received(to_, 0ms); !taken) {
      const bool later = taken.error().code == Errc::deadline_exceeded;
      if (!later) fail_with(Reason::transfer_failed, taken.error());
      return false;
    }
  }
  ++rounds_;
  copying_ = false;
  act(machine_.on_round(little));
  return true;
}

/// The gate is shut and nothing runs: everything that is left goes out, and the manifest.
Result<void> GroupSource::send_rest() {
  if (!ferry_ || !stream_) return fail(Errc::connection_lost, "there is no way to the dock");
  resting_ = true;
  if (state_ != nullptr) {
    auto saved = state_->save_rest(*this);
    if (!saved) {
      resting_ = false;
      return saved;
    }
  }
  resting_ = false;
  // What has come since the gate was shut goes along: its sender is not asked for it again.
  process_.progress();
  const Epoch epoch = epoch_of(group_);
  images_.clear();
  for (std::size_t i = 0; i < group_.size(); ++i) {
    images_.push_back(Relocation::park(group_[i]));
    if (planted("duplicates-not-moved")) forget_last_answers(images_.back());
    stream_->item(ItemType::image, static_cast<std::uint32_t>(i), bytes_of(images_.back()));
  }
  stream_->manifest(epoch, static_cast<std::uint32_t>(group_.size()));
  while (stream_->pending() != 0 || !stream_->piece(0).empty()) {
    const Bytes piece = stream_->piece(0);
    if (stream_->pending() == 0) fault_point("rest.half");
    auto sent = ferry_->send(to_, piece, kDockPatience);
    if (!sent) return sent;
    sent_ += piece.size();
    stream_->sent();
  }
  process_.flush();
  fault_point("rest.sent");
  return {};
}

}  // namespace godwit::migrate
