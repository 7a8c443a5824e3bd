#include "engine/engine.h"

#include <algorithm>

namespace godwit {

Result<std::shared_ptr<Engine>> Engine::create(std::shared_ptr<Resolver> resolver,
                                               const ProcessOptions& options,
                                               EngineCounters* counters) {
  std::shared_ptr<Engine> engine(new Engine(std::move(resolver), counters));
  fabric::FabricOptions fabric;
  fabric.identity.engine = fabric::EngineId::random();
  fabric.identity.node = engine->resolver_->node();
  fabric.identity.keys = [directory = engine->resolver_.get()](std::uint32_t dc) {
    return directory->key(dc);
  };
  fabric.runtime_directory = engine->resolver_->runtime_directory();
  fabric.listen_host = engine->resolver_->listen_host();
  fabric.transports = options.transports;
  fabric.force = options.force_transport;
  fabric.arena_capacity = options.arena_capacity;
  fabric.spin = options.spin;
  fabric.ucx = options.ucx;
  auto made = fabric::Fabric::create(std::move(fabric), *engine);
  if (!made) return tl::make_unexpected(made.error());
  engine->fabric_ = std::move(*made);
  engine->address_blob_ = engine->fabric_->address().serialize();
  engine->spin_ = options.spin;
  engine->return_pace_ = options.return_pace;
  if (options.spin == std::chrono::nanoseconds::zero()) engine->quiet_round_ = 1;
  engine->mailbox_->open(*engine->fabric_);
  return engine;
}

Engine::Engine(std::shared_ptr<Resolver> resolver, EngineCounters* counters)
    : resolver_(std::move(resolver)), thread_(std::this_thread::get_id()), counters_(counters) {
  if (counters_ == nullptr) {
    own_counters_ = std::make_unique<EngineCounters>();
    counters_ = own_counters_.get();
  }
  counters_->in_use.set(1);
}

Engine::~Engine() {
  mailbox_->close();
  counters_->in_use.set(0);
  for (const auto& channel : channels_) {
    if (channel != nullptr) fail_copies(*channel, Error{Errc::closed, {}, {}});
  }
  for (const auto& channel : channels_) {
    if (channel == nullptr || channel->calls == nullptr) continue;
    for (PendingCall* call : *channel->calls) {
      if (call != nullptr) complete(*call, fail(Errc::closed, "the process is closing"));
    }
  }
  // Their callbacks still run, once each: the promise of call_async.
  while (!completions_.empty()) run_completions();
  // Connections refer to frames and to users' memory: they go before everything else.
  std::erase_if(transfers_, [](const auto& transfer) { return transfer->in_flight == 0; });
  for (auto& channel : channels_) channel.reset();
  fabric_.reset();
}

unsigned Engine::progress_with_descriptors() {
  const unsigned events = progress();
  const Clock::time_point now = Clock::now();
  if (!timers_.empty() && timers_.top().when <= now) run_timers(now);
  if (events == 0) flush_acks();
  if (now - last_descriptors_ < kDescriptorInterval) return events;
  last_descriptors_ = now;
  return events + fabric_->poll_descriptors();
}

void Engine::flush() {
  progress();
  flush_acks();
  for (const auto& [connection, link] : connections_) connection->flush();
}

void Engine::run_tasks() {
  for (const Mailbox::Task& task : mailbox_->take()) task();
}

void Engine::run_completions() {
  // Only those of now: a callback may start calls that complete at once.
  for (std::size_t left = completions_.size(); left != 0; --left) {
    auto [call, result] = std::move(completions_.front());
    completions_.pop_front();
    call->complete(*call, std::move(result));
  }
}

/// One look at the clock: timers, descriptors, the deadline, and sleep when polling has not paid.
/// The error with which the wait is over, if it is.
std::optional<Error> Engine::idle_step(unsigned& quiet, Clock::time_point& idle_since,
                                       const Wait& wait) {
  const Clock::time_point now = Clock::now();
  if (!timers_.empty() && timers_.top().when <= now) run_timers(now);
  bool ready = false;
  if (now - last_descriptors_ >= kDescriptorInterval) {
    last_descriptors_ = now;
    ready = fabric_->poll_descriptors() != 0;
  }
  if (wait.stop().stop_requested()) return Error{Errc::cancelled, {}, {}};
  const Clock::time_point until = wait.until();
  if (wait.immediate() || now >= until) {
    flush_acks();
    return Error{Errc::deadline_exceeded, {}, {}};
  }
  if (quiet == 0 || ready) return std::nullopt;
  if (quiet == quiet_round_) idle_since = now;
  flush_acks();
  if (idle_since == Clock::time_point{}) idle_since = now;
  if (now - idle_since < spin_) return std::nullopt;

  quiet = 0;
  idle_since = {};
  if (wait.stop().stop_possible()) {
    const std::stop_callback waking(wait.stop(), [this] { wake(); });
    if (!wait.stop().stop_requested()) sleep(until);
  } else {
    sleep(until);
  }
  return std::nullopt;
}

void Engine::sleep(Clock::time_point until) {
  if (mailbox_->has_mail() || !completions_.empty() || std::exchange(restless_, false)) return;
  update_counters();
  counters_->sleeps.add();
  const Clock::time_point before = Clock::now();
  fabric_->sleep(std::min(until, next_timer()));
  last_descriptors_ = Clock::now();
  // Polling pays if messages come sooner than a wake-up takes to be worth it.
  const auto slept = last_descriptors_ - before;
  const auto most = fabric_->spin();
  if (slept < most) {
    spin_ = most;
  } else if (most != std::chrono::nanoseconds::max()) {
    spin_ = std::max(spin_ / 2, most / 32);
  }
}

void Engine::set_timer(Channel& channel, Clock::time_point when) {
  if (channel.timer <= when) return;
  channel.timer = when;
  timers_.push({when, channel.index, channel.serial, nullptr});
}

void Engine::set_link_timer(PeerLink& link, Clock::time_point when) {
  if (link.timer <= when) return;
  link.timer = when;
  timers_.push({when, 0, 0, &link});
}

void Engine::run_timers(Clock::time_point now) {
  while (!timers_.empty() && timers_.top().when <= now) {
    const Timer timer = timers_.top();
    timers_.pop();
    if (timer.link != nullptr) {
      if (timer.link->timer != timer.when) continue;  // superseded
      timer.link->timer = Clock::time_point::max();
      on_link_timer(*timer.link, now);
      continue;
    }
    Channel* channel = find(timer.index, timer.serial);
    if (channel == nullptr || channel->timer != timer.when) continue;  // superseded
    channel->timer = Clock::time_point::max();
    on_timer(*channel, now);
  }
}

Engine::Clock::time_point Engine::next_timer() const {
  return timers_.empty() ? Clock::time_point::max() : timers_.top().when;
}

void Engine::update_counters() {
  counters_->wakes.set(fabric_->wakes());
  counters_->endpoints.set(by_id_.size());
  counters_->channels.set(channels_.size() - free_channels_.size());
  std::array<fabric::ConnectionCounters, 6> sums{};
  std::array<std::uint64_t, 6> connections{};
  for (const auto& [connection, link] : connections_) {
    const auto kind = static_cast<std::size_t>(connection->kind());
    const fabric::ConnectionCounters& from = connection->counters();
    ++connections[kind];
    sums[kind].frames_sent += from.frames_sent;
    sums[kind].frames_received += from.frames_received;
    sums[kind].bytes_sent += from.bytes_sent;
    sums[kind].bytes_received += from.bytes_received;
    sums[kind].bytes_fetched += from.bytes_fetched;
    sums[kind].bytes_written += from.bytes_written;
  }
  for (std::size_t kind = 0; kind < sums.size(); ++kind) {
    EngineCounters::PerTransport& to = counters_->transport[kind];
    to.connections.set(connections[kind]);
    to.frames_sent.set(closed_sums_[kind].frames_sent + sums[kind].frames_sent);
    to.frames_received.set(closed_sums_[kind].frames_received + sums[kind].frames_received);
    to.bytes_sent.set(closed_sums_[kind].bytes_sent + sums[kind].bytes_sent);
    to.bytes_received.set(closed_sums_[kind].bytes_received + sums[kind].bytes_received);
    to.bytes_fetched.set(closed_sums_[kind].bytes_fetched + sums[kind].bytes_fetched);
    to.bytes_written.set(closed_sums_[kind].bytes_written + sums[kind].bytes_written);
  }
}

Result<fabric::Buffer> Engine::allocate(std::size_t size) {
  if (size > kMaxMessage)
    return fail(Errc::too_large, "a message is limited to 16 MiB: use a grant");
  fabric::Buffer buffer = fabric_->arena().allocate(size);
  if (buffer.empty())
    return fail(Errc::no_memory, "the arena is full: wait for peers, or raise arena_capacity");
  return buffer;
}

unsigned Engine::cut_connections(std::optional<fabric::TransportKind> next) {
  std::vector<fabric::Connection*> open;
  for (const auto& [connection, link] : connections_) {
    link->next = next;
    open.push_back(connection);
  }
  for (fabric::Connection* connection : open) {
    connection->close(Error{Errc::connection_lost, "cut on request", {}});
  }
  return static_cast<unsigned>(open.size());
}

std::optional<fabric::TransportKind> Engine::transport_to(const Remote& to) const {
  const Channel* channel = const_cast<Engine*>(this)->find(to);
  if (channel == nullptr || channel->connection == nullptr || !channel->core.attached()) return {};
  return channel->connection->kind();
}

}  // namespace godwit
