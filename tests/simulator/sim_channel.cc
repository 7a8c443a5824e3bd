#include "sim_channel.h"

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <string>
#include <utility>

namespace godwit::simulator {

namespace {

constexpr unsigned kProbesBeforeNewSession = 2;
constexpr std::uint64_t kReportInterval = 40;

std::size_t index_of(Stream stream) {
  return static_cast<std::size_t>(stream);
}

}  // namespace

SimChannel::SimChannel(Host& host, Identity own, Identity peer, std::uint64_t lineage,
                       std::uint32_t epoch, Number first)
    : host_(&host),
      own_(own),
      peer_(peer),
      core_(lineage, epoch, host.rules().session_tie && own.endpoint < peer.endpoint, first) {}

// --- the application's side ---------------------------------------------------------------------

bool SimChannel::send(Kind kind) {
  channel::SendWindow& window = core_.out(Stream::messages);
  if (window.full(host_->window())) return false;
  const Number number = window.accept();
  const std::uint32_t entry =
      host_->audit().on_accepted(own_, peer_, Stream::messages, number, kind);
  retained_[0].push_back({Stream::messages, number, kind, 0, entry});
  if (kind == Kind::request) calls_.push_back({entry, number, false});
  pump();
  host_->set_timer(*this);
  return true;
}

bool SimChannel::notify() {
  const std::uint64_t bit = host_->audit().on_notify(own_, peer_);
  if (bit == 0) return false;
  notify_waiting_ |= bit;
  send_notification();
  host_->set_timer(*this);
  return true;
}

bool SimChannel::take(bool requests_only) {
  const auto wanted = [&](const Sequenced& message) {
    return !requests_only || message.kind == Kind::request;
  };
  const auto at = std::find_if(inbox_.begin(), inbox_.end(), wanted);
  if (at == inbox_.end()) return false;
  const Sequenced message = *at;
  inbox_.erase(at);
  host_->audit().on_taken(own_, message.entry, message.number);
  if (message.kind == Kind::request) executing_.push_back(message);
  taken(message);
  return true;
}

bool SimChannel::reply(std::uint32_t choice) {
  channel::SendWindow& window = core_.out(Stream::replies);
  if (executing_.empty() || window.full(host_->window())) return false;
  const auto at = executing_.begin() + static_cast<std::ptrdiff_t>(choice % executing_.size());
  const Number number = window.accept();
  const std::uint32_t entry =
      host_->audit().on_accepted(own_, peer_, Stream::replies, number, Kind::reply, at->entry);
  retained_[1].push_back({Stream::replies, number, Kind::reply, at->number, entry});
  executing_.erase(at);
  pump();
  host_->set_timer(*this);
  return true;
}

bool SimChannel::abandon(std::uint32_t choice) {
  const auto count =
      std::count_if(calls_.begin(), calls_.end(), [](const Call& call) { return !call.abandoned; });
  if (count == 0) return false;
  auto skip = choice % count;
  const auto at = std::find_if(calls_.begin(), calls_.end(),
                               [&](const Call& call) { return !call.abandoned && skip-- == 0; });
  const channel::SendWindow& window = core_.out(Stream::messages);
  const bool transmitted = host_->rules().cancel_checks_sent
                               ? window.was_transmitted(at->number)
                               : channel::distance(at->number, window.sent()) > 0;
  if (transmitted) {
    host_->audit().on_outcome(at->entry, Audit::Outcome::unknown);
    at->abandoned = true;
    return true;
  }
  host_->audit().on_outcome(at->entry, Audit::Outcome::not_executed);
  if (channel::distance(window.acknowledged(), at->number) >= 0) {
    retained_[0][at->number - window.acknowledged()].kind = Kind::empty;
  }
  calls_.erase(at);
  return true;
}

// --- sessions -----------------------------------------------------------------------------------

Frame SimChannel::make(FrameType type) const {
  Frame frame;
  frame.type = type;
  frame.source = own_;
  frame.target = peer_;
  frame.state = own_state();
  for (const Stream stream : kStreams) {
    frame.acks[index_of(stream)] = frame.state.received[index_of(stream)];
  }
  return frame;
}

AttachState SimChannel::own_state() const {
  AttachState state = core_.report(0);
  if (!host_->rules().ack_after_receive) {
    for (const std::size_t stream : {0, 1}) state.received[stream] = state.arrived[stream];
  }
  return state;
}

void SimChannel::start_session(ConnectionId connection) {
  connection_ = connection;
  attach_waits_ = false;
  grant_untold_ = false;
  core_.start_session(0);
  Frame attach = make(FrameType::attach);
  take_aboard(attach);
  host_->post(connection, attach);
  host_->set_timer(*this);
}

/// The oldest replies, as many as there happens to be room for.
void SimChannel::take_aboard(Frame& attach) {
  channel::SendWindow& window = core_.out(Stream::replies);
  window.rewind(window.acknowledged());
  const std::vector<Sequenced>& replies = retained_[index_of(Stream::replies)];
  const std::size_t count = host_->random().below(static_cast<std::uint32_t>(replies.size()) + 1);
  attach.aboard.assign(replies.begin(), replies.begin() + static_cast<std::ptrdiff_t>(count));
  for (std::size_t i = 0; i < count; ++i) window.transmit();
}

void SimChannel::leave_session() {
  connection_ = kNoConnection;
  core_.on_detached();
  unanswered_ = 0;
  grant_untold_ = false;
  if (!host_->rules().retention) {
    for (const Stream stream : kStreams) {
      channel::SendWindow& window = core_.out(stream);
      release(stream, window.on_ack(window.sent()).freed);
    }
  }
  if (wanted()) host_->set_timer(*this);
}

void SimChannel::apply(const ChannelCore::Effect& effect) {
  for (const Stream stream : kStreams) release(stream, effect.freed[index_of(stream)]);
  unanswered_ = 0;
  pump();
}

void SimChannel::on_opened(ConnectionId connection) {
  start_session(connection);
}

void SimChannel::on_broken(ConnectionId connection) {
  if (connection == connection_) leave_session();
}

void SimChannel::on_attach(ConnectionId connection, const Frame& frame) {
  AttachState state = frame.state;
  if (!host_->rules().epoch_check) state.epoch = std::max(state.epoch, core_.peer_epoch());
  if (host_->arriving()) {
    core_.put_off(state);
    if (!core_.attached()) leave_session();
    return;
  }
  const ChannelCore::Effect effect = core_.on_attach(state);
  switch (effect.verdict) {
    case AttachVerdict::accept:
      connection_ = connection;
      grant_untold_ = false;
      heard(frame);
      for (const Sequenced& reply : frame.aboard) on_sequenced(reply);
      if (!core_.attached()) break;
      host_->post(connection, make(FrameType::attach_answer));
      apply(effect);
      send_notification();
      break;
    case AttachVerdict::superseded:
      host_->post(connection, make(FrameType::superseded));
      break;
    case AttachVerdict::stale_epoch:
      host_->post(connection, make(FrameType::stale_epoch));
      break;
    case AttachVerdict::ignore:
      break;
    case AttachVerdict::lineage_lost:
      invalid("an attach with another lineage");
      break;
    case AttachVerdict::invalid:
      invalid("an attach that claims what was never sent");
      break;
  }
}

void SimChannel::on_attach_answer(const Frame& frame) {
  AttachState state = frame.state;
  if (!host_->rules().epoch_check) state.epoch = std::max(state.epoch, core_.peer_epoch());
  const ChannelCore::Effect effect = core_.on_attach_answer(state);
  switch (effect.verdict) {
    case AttachVerdict::accept:
      heard(frame);
      apply(effect);
      if (grant_untold_) {
        tell_grant();
      } else {
        send_notification();
      }
      break;
    case AttachVerdict::stale_epoch:
      leave_session();
      break;  // that was the old place
    case AttachVerdict::superseded:
    case AttachVerdict::ignore:
      break;
    case AttachVerdict::lineage_lost:
      invalid("an answer with another lineage");
      break;
    case AttachVerdict::invalid:
      invalid("an answer that claims what was never sent");
      break;
  }
}

void SimChannel::on_directory(std::uint64_t lineage, std::uint32_t epoch) {
  known_epoch_ = std::max(known_epoch_, epoch);
  if (host_->rules().epoch_check && core_.expect_peer(lineage, epoch)) leave_session();
}

void SimChannel::on_peer_died() {
  for (const Call& call : calls_) {
    if (call.abandoned) continue;
    const bool transmitted = core_.out(Stream::messages).was_transmitted(call.number);
    host_->audit().on_outcome(call.entry,
                              transmitted ? Audit::Outcome::unknown : Audit::Outcome::not_executed);
  }
  calls_.clear();
}

void SimChannel::pass_through_image(std::size_t kept) {
  const bool smaller = host_->rules().session_tie && own_.endpoint < peer_.endpoint;
  channel::CoreImage image = core_.image();
  if (host_->rules().inbox_counts) {
    auto& in = image.in[index_of(Stream::messages)];
    in.arrived = kept == inbox_.size() ? core_.in(Stream::messages).arrived() : inbox_[kept].number;
  }
  core_ = ChannelCore(core_.own_lineage(), core_.own_epoch(), smaller, image);
  connection_ = kNoConnection;
  unanswered_ = 0;
  inbox_.resize(kept);
}

void SimChannel::install(Host& host) {
  host_ = &host;
  pass_through_image(host.random().below(static_cast<std::uint32_t>(inbox_.size()) + 1));
}

void SimChannel::on_granted(std::uint32_t epoch) {
  core_.on_granted(epoch);
  grant_untold_ = !core_.detached();
  if (core_.attached()) {
    tell_grant();
  } else if (!grant_untold_) {
    leave_session();
  }
  if (wanted()) host_->set_timer(*this);
}

void SimChannel::tell_grant() {
  grant_untold_ = false;
  host_->post(connection_, make(FrameType::report));
  send_notification();
}

void SimChannel::on_resumed(std::uint32_t epoch) {
  pass_through_image(0);
  core_.on_moved(epoch);
  // Whatever is retained may have been lost on its way.
  if (wanted()) host_->set_timer(*this);
}

void SimChannel::haunt() {
  if (!core_.attached()) {
    host_->dial(*this);
    return;
  }
  pump();
  host_->post(connection_, make(host_->random().chance(50) ? FrameType::probe : FrameType::report));
}

// --- the network's side -------------------------------------------------------------------------

bool SimChannel::is_present(ConnectionId connection) const noexcept {
  if (!core_.attached()) return false;
  return connection == connection_ || !host_->rules().session_connection;
}

void SimChannel::heard(const Frame& frame) {
  known_epoch_ = std::max(known_epoch_, core_.peer_epoch());
  host_->audit().on_heard(frame, known_epoch_);
}

void SimChannel::on_frame(ConnectionId connection, const Frame& frame) {
  switch (frame.type) {
    case FrameType::attach:
      return on_attach(connection, frame);
    case FrameType::attach_answer:
      if (connection == connection_) on_attach_answer(frame);
      return;
    case FrameType::superseded:
      if (connection == connection_ && core_.on_superseded(frame.state.session)) {
        start_session(connection);
      }
      return;
    case FrameType::stale_epoch:
    case FrameType::gone:
      if (connection == connection_ && !core_.attached()) leave_session();
      return;
    default:
      break;
  }

  if (!is_present(connection)) return;
  heard(frame);
  switch (frame.type) {
    case FrameType::sequenced:
      if (adopt_acks(frame)) on_sequenced(frame.sequenced);
      break;
    case FrameType::ack:
      adopt_acks(frame);
      break;
    case FrameType::probe:
      if (adopt_acks(frame)) host_->post(connection_, make(FrameType::report));
      break;
    case FrameType::report: {
      AttachState state = frame.state;
      if (!host_->rules().epoch_check) state.epoch = std::max(state.epoch, core_.peer_epoch());
      const ChannelCore::Effect effect = core_.on_report(state);
      if (effect.verdict == AttachVerdict::invalid) invalid("a report of what was never sent");
      if (effect.verdict == AttachVerdict::accept) apply(effect);
      break;
    }
    case FrameType::notification:
      on_notification(frame);
      break;
    case FrameType::notification_ack:
      if (frame.notification == notify_number_) notify_flying_ = 0;
      send_notification();
      break;
    default:
      break;
  }
}

void SimChannel::on_sequenced(const Sequenced& message) {
  // What counts as taken when it arrives does not arrive behind a shut gate: its sender must keep
  // it for the place that is granted.
  const bool waits = message.stream == Stream::messages && message.kind != Kind::empty;
  if (!waits && !host_->gate_open()) return;
  ReceiveWindow::Verdict verdict = core_.in(message.stream).on_frame(message.number);
  if (verdict == ReceiveWindow::Verdict::duplicate && !host_->rules().duplicate_filter) {
    verdict = ReceiveWindow::Verdict::deliver;
  }
  switch (verdict) {
    case ReceiveWindow::Verdict::deliver:
      break;
    case ReceiveWindow::Verdict::duplicate:
      // Whoever sends it again has not seen the acknowledgement.
      ack_due_ = true;
      return host_->owe_ack(*this);
    case ReceiveWindow::Verdict::gap:
      return report_gap(message.stream);
    case ReceiveWindow::Verdict::overrun:
      return invalid("a frame beyond the window");
  }
  if (waits) {
    inbox_.push_back(message);
    host_->wake_application();
    return;
  }
  if (message.kind == Kind::empty) {
    taken(message);
  } else {
    take_reply(message);
  }
}

void SimChannel::take_reply(const Sequenced& reply) {
  host_->audit().on_taken(own_, reply.entry, reply.number);
  taken(reply);
  const auto at = std::find_if(calls_.begin(), calls_.end(),
                               [&](const Call& call) { return call.number == reply.call; });
  if (at == calls_.end()) return host_->audit().fail("a reply to a call that was never made");
  if (!at->abandoned) host_->audit().on_outcome(at->entry, Audit::Outcome::ok, reply.entry);
  calls_.erase(at);
}

void SimChannel::taken(const Sequenced& message) {
  core_.in(message.stream).on_taken(message.number);
  ack_due_ = true;
  host_->owe_ack(*this);
}

void SimChannel::flush_ack() {
  if (!ack_due_ || !core_.attached()) return;
  ack_due_ = false;
  host_->post(connection_, make(FrameType::ack));
}

bool SimChannel::adopt_acks(const Frame& frame) {
  for (const Stream stream : kStreams) {
    const channel::SendWindow::Ack ack = core_.out(stream).on_ack(frame.acks[index_of(stream)]);
    if (!ack.valid) {
      invalid("an acknowledgement of what was never sent");
      return false;
    }
    release(stream, ack.freed);
  }
  return true;
}

void SimChannel::release(Stream stream, std::uint32_t count) {
  std::vector<Sequenced>& retained = retained_[index_of(stream)];
  for (std::uint32_t i = 0; i < count; ++i) host_->audit().on_released(retained[i].entry);
  retained.erase(retained.begin(), retained.begin() + count);
}

void SimChannel::report_gap(Stream stream) {
  // Each report has the whole window sent again, so there is one in a round trip at most: otherwise
  // a full window and a network that reorders feed each other.
  const std::uint64_t now = host_->now();
  if (now < next_report_[index_of(stream)]) return;
  next_report_[index_of(stream)] = now + kReportInterval;
  host_->post(connection_, make(FrameType::report));
}

void SimChannel::pump() {
  if (!core_.attached()) return;
  for (const Stream stream : kStreams) {
    channel::SendWindow& window = core_.out(stream);
    while (window.has_unsent()) {
      const Number number = window.transmit();
      Frame frame = make(FrameType::sequenced);
      frame.sequenced = retained_[index_of(stream)][number - window.acknowledged()];
      if (frame.sequenced.number != number) host_->audit().fail("the queue is out of step");
      host_->post(connection_, frame);
      ack_due_ = false;
    }
    if (window.retained() > channel::kWindow ||
        window.retained() != retained_[index_of(stream)].size()) {
      host_->audit().fail("the send window holds more than it may");
    }
  }
}

void SimChannel::send_notification() {
  if (notify_flying_ == 0) {
    // Nor is a number given behind a shut gate: the new place would give it to other bits.
    if (notify_waiting_ == 0 || !host_->gate_open()) return;
    notify_flying_ = std::exchange(notify_waiting_, 0);
    ++notify_number_;
  }
  if (!core_.attached()) return;
  Frame frame = make(FrameType::notification);
  frame.notification = notify_number_;
  frame.bits = notify_flying_;
  host_->post(connection_, frame);
}

void SimChannel::on_notification(const Frame& frame) {
  // The sender forgets them at the acknowledgement, so an endpoint that is elsewhere must not take
  // them, nor say that it did.
  if (!host_->gate_open()) return;
  const auto newer = static_cast<std::int32_t>(frame.notification - notify_seen_);
  if (newer > 0 || !host_->rules().notification_numbers) {
    notify_seen_ = frame.notification;
    host_->audit().on_notified(peer_, own_, frame.bits);
  }
  Frame answer = make(FrameType::notification_ack);
  answer.notification = frame.notification;
  host_->post(connection_, answer);
}

bool SimChannel::wanted() const noexcept {
  return !core_.out(Stream::messages).empty() || !core_.out(Stream::replies).empty() ||
         notify_waiting_ != 0 || notify_flying_ != 0;
}

void SimChannel::on_timer() {
  switch (core_.state()) {
    case ChannelCore::State::detached:
      if (!wanted()) return;
      host_->dial(*this);
      break;
    case ChannelCore::State::attaching:
      if (!std::exchange(attach_waits_, true)) break;
      attach_waits_ = false;
      if (!wanted()) return leave_session();
      if (host_->random().chance(50)) {
        start_session(connection_);
      } else {
        leave_session();
        host_->dial(*this);
      }
      break;
    case ChannelCore::State::attached: {
      if (!wanted()) return;
      const bool moved = core_.out(Stream::messages).acknowledged() != progress_[0] ||
                         core_.out(Stream::replies).acknowledged() != progress_[1];
      progress_[0] = core_.out(Stream::messages).acknowledged();
      progress_[1] = core_.out(Stream::replies).acknowledged();
      if (!moved && host_->rules().probe) {
        if (++unanswered_ > kProbesBeforeNewSession) {
          leave_session();
          host_->dial(*this);
          break;
        }
        host_->post(connection_, make(FrameType::probe));
        send_notification();
      }
      break;
    }
  }
  host_->set_timer(*this);
}

void SimChannel::invalid(const char* what) {
  // A copy at an old place may well see what its own windows do not know of.
  if (host_->gate_open()) host_->audit().fail(std::string("protocol error: ") + what);
  leave_session();
}

}  // namespace godwit::simulator
