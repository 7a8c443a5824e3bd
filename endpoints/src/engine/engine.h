// Engine: moves messages for the endpoints of one thread.
//
// The driver of the channel protocol: it gives frames and time to the cores and carries out what
// they say. Split by concern:
//   engine.cc            life, the loop, timers, tasks from other threads
//   engine_endpoints.cc  binding, looking up, unbinding
//   engine_links.cc      connections: dialling, falling back, recovering
//   engine_return.cc     connections: back to the better transport
//   engine_sessions.cc   channels: attaching, probing, the peer's death
//   engine_messages.cc   send, receive, acknowledgements, notifications
//   engine_calls.cc      calls and replies
//   engine_grants.cc     grants, and copies at the owner of the memory
//   engine_copies.cc     copies at their requester
//   engine_third_party.cc  copies between two other endpoints
//   engine_copy_frames.cc  the frames of copies, at both ends
//   engine_moves.cc      an endpoint's gate, and its life at a new place
//   engine_image.cc      an endpoint's image, as it moves
//
// Everything belongs to the thread that made the engine, except post(), wake() and reply().
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <queue>
#include <span>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "engine/channel.h"
#include "engine/copies.h"
#include "engine/mailbox.h"
#include "engine/wire.h"
#include "godwit/counters.h"
#include "godwit/endpoint.h"
#include "godwit/fabric/fabric.h"
#include "godwit/process.h"
#include "godwit/resolver.h"
#include "godwit/wait.h"

namespace godwit {

/// Where a peer's engine is, and the connections to it, for one DC.
struct PeerLink {
  std::uint32_t dc = 0;
  fabric::EngineAddress address;             // engine id zero until known (a peer that dialled us)
  fabric::Connection* connection = nullptr;  // established: new sessions start on it
  fabric::Connection* dialing = nullptr;
  std::optional<fabric::TransportKind> next;  // tried first at the next dial
  std::vector<fabric::TransportKind> candidates;
  std::size_t candidate = 0;
  std::chrono::steady_clock::time_point retry = std::chrono::steady_clock::time_point::min();
  std::chrono::milliseconds backoff{0};
  Error last_error{};
  std::vector<Channel*> channels;
  std::chrono::steady_clock::time_point timer = std::chrono::steady_clock::time_point::max();

  /// The way back to a better transport (engine_return.cc).
  struct Return {
    bool due = false;                       // this side dialled what stands, and both offer better
    fabric::Connection* dialing = nullptr;  // in the background
    std::vector<fabric::TransportKind> better;
    std::size_t next = 0;  // of `better`
    std::chrono::milliseconds delay{0};
    std::chrono::steady_clock::time_point at = std::chrono::steady_clock::time_point::max();
    std::chrono::steady_clock::time_point tried = std::chrono::steady_clock::time_point::min();
  } back;
};

struct LocalEndpoint {
  EndpointId id;
  std::string name;
  std::uint64_t lineage = 0;
  std::uint32_t epoch = 0;
  std::uint32_t index = 0;
  bool open = true;
  /// Whether the application may take, and the channels may give out numbers (docs/migration.md).
  enum class Gate : std::uint8_t {
    open,
    closing,   // what had arrived is handed out for a moment; what was taken may go on and end
    parked,    // nothing at all
    arriving,  // a copy that is not granted yet: has sessions, takes and accepts nothing
    left,      // for good: the endpoint serves elsewhere, or `lost`
  };
  Gate gate = Gate::open;
  bool lost = false;  // it was taken for dead while it lived, and that is final
  /// What whoever uses it is told once it has left.
  Error farewell() const { return {lost ? Errc::endpoint_died : Errc::moved, {}, name}; }
  /// While the gate is closing: requests that had arrived before, and until when they are handed
  /// out.
  std::uint64_t last_requests = 0;
  std::chrono::steady_clock::time_point last_call{};
  bool attention = false;  // the gate is not open, or there is an interlude
  std::function<bool()> interlude;
  Channel* ready_head = nullptr;  // channels with messages or requests, round robin
  Channel* ready_tail = nullptr;
  std::vector<Channel*> notified;
  Channel* mirror = nullptr;  // the far end of an endpoint's channel to itself
  std::unordered_map<EndpointId, Channel*, EndpointIdHash> channels;
  std::unordered_map<std::string, Remote> names;  // of send() and call() by name
  GrantTable grants;
};

class Engine final : public std::enable_shared_from_this<Engine>, private fabric::ConnectionEvents {
 public:
  using Clock = std::chrono::steady_clock;

  static Result<std::shared_ptr<Engine>> create(std::shared_ptr<Resolver> resolver,
                                                const ProcessOptions& options,
                                                EngineCounters* counters);
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // --- the loop (engine.cc) ----------------------------------------------------------------------

  bool on_own_thread() const noexcept { return std::this_thread::get_id() == thread_; }
  unsigned progress();
  /// Progress until done() holds, or the error if the wait ends first. Never inside a transport's
  /// callback.
  template <typename Done>
  std::optional<Error> progress_until(Done&& done, const Wait& wait);
  template <typename Done>
  Result<void> run_until(Done&& done, const Wait& wait) {
    if (auto error = progress_until(done, wait)) return tl::make_unexpected(std::move(*error));
    return {};
  }
  /// progress() and a look at the descriptors: for callers that do not wait.
  unsigned progress_with_descriptors();
  void flush();
  /// Runs `task` on the engine's thread, soon. Any thread.
  void post(std::function<void()> task) { mailbox_->post(std::move(task)); }
  void wake() noexcept { fabric_->wake(); }

  // --- endpoints (engine_endpoints.cc) -----------------------------------------------------------

  Result<Endpoint> bind(std::string_view dc, std::string_view name, const Wait& wait);
  Result<std::vector<Result<Endpoint>>> bind_many(const std::vector<std::string>& names,
                                                  const Wait& wait,
                                                  const std::string& program = {});
  Result<void> unbind(std::uint32_t endpoint, bool wait_for_directory);
  const std::string& name_of(std::uint32_t endpoint) const { return endpoints_[endpoint]->name; }
  Result<Remote> lookup(std::uint32_t endpoint, std::string_view name, const Wait& wait);
  Result<Remote> lookup(std::uint32_t endpoint, EndpointId id, const Wait& wait);
  Result<Remote> wait_bound(std::uint32_t endpoint, std::string_view name, const Wait& wait);
  Result<void> wait_unbound(std::uint32_t endpoint, std::string_view name, const Wait& wait);
  /// The cached Remote of a name; looks it up if there is none or its owner has died.
  Result<Remote> named(std::uint32_t endpoint, std::string_view name, const Wait& wait);
  void on_endpoint_changed(const EndpointPlace& place);

  // --- messages (engine_messages.cc) -------------------------------------------------------------

  Result<void> send(const Remote& to, Bytes payload, const Wait* wait, bool rendezvous);
  Result<void> send(const Remote& to, fabric::Buffer payload, const Wait& wait);
  Result<void> wait_received(const Remote& to, const Wait& wait);
  Result<void> notify(const Remote& to, std::uint64_t bits);
  Result<Message> receive(std::uint32_t endpoint, const Remote* from, const Wait& wait);

  // --- calls (engine_calls.cc) -------------------------------------------------------------------

  Result<Message> call(const Remote& to, Bytes payload, fabric::Buffer buffer, const Wait& wait);
  Result<void> call_async(const Remote& to, Bytes payload, ReplyCallback done, const Wait& wait);
  Result<Request> receive_request(std::uint32_t endpoint, const Wait& wait);
  Result<Request> as_request(Message message);
  /// Any thread.
  Result<void> reply(Request request, Bytes payload, fabric::Buffer buffer, Errc status);

  // --- grants (engine_grants.cc, engine_copies.cc) -----------------------------------------------

  Result<GrantRef> grant(std::uint32_t endpoint, std::span<std::byte> memory, Rights rights,
                         std::optional<EndpointId> peer);
  Result<void> revoke(std::uint32_t endpoint, const GrantRef& grant, const Wait& wait);
  Result<void> copy(std::uint32_t endpoint, const GrantRef& grant, std::uint64_t offset,
                    std::span<std::byte> memory, bool to_owner, const Wait& wait);
  Result<void> copy_between(std::uint32_t endpoint, const GrantRef& from, std::uint64_t from_offset,
                            const GrantRef& to, std::uint64_t to_offset, std::uint64_t length,
                            const Wait& wait);

  Result<void> regrant(std::uint32_t endpoint, const GrantRef& grant, std::span<std::byte> memory);

  // --- moves (engine_moves.cc, engine_image.cc); see godwit/relocation.h -------------------------

  void at_rest(std::uint32_t endpoint, std::function<bool()> interlude);
  void shut(std::uint32_t endpoint);
  std::string busy(std::uint32_t endpoint) const;
  std::string park(std::uint32_t endpoint);
  std::vector<std::string> peers_of(std::uint32_t endpoint);
  Result<void> acquaint(std::uint32_t dc, std::string_view engine_address);
  Result<Endpoint> install(std::string_view image);
  bool receive_peers(std::uint32_t endpoint, std::size_t parts);
  std::size_t attached_peers(std::uint32_t endpoint) const;
  void open_gate(std::uint32_t endpoint, std::uint32_t epoch);
  void leave(std::uint32_t endpoint);
  bool is_lost(std::uint32_t endpoint) const { return endpoints_[endpoint]->lost; }
  std::uint32_t epoch_of(std::uint32_t endpoint) const { return endpoints_[endpoint]->epoch; }
  EndpointPlace place_of(std::uint32_t endpoint) const;
  const std::string& address() const noexcept { return address_blob_; }

  Result<fabric::Buffer> allocate(std::size_t size);
  unsigned cut_connections(std::optional<fabric::TransportKind> next);
  std::optional<fabric::TransportKind> transport_to(const Remote& to) const;

 private:
  using Number = channel::Number;
  using Stream = channel::Stream;

  struct Timer {
    Clock::time_point when;
    std::uint32_t index;
    std::uint32_t serial;
    PeerLink* link = nullptr;  // then it is the link's, not a channel's
    bool operator>(const Timer& other) const noexcept { return when > other.when; }
  };
  struct AsyncCall;
  struct PeerKey {
    fabric::EngineId engine;
    std::uint32_t dc;
    bool operator==(const PeerKey&) const = default;
  };
  struct PeerKeyHash {
    std::size_t operator()(const PeerKey& key) const noexcept {
      return key.engine.high ^ (key.engine.low * 0x9E3779B97F4A7C15u) ^ key.dc;
    }
  };

  Engine(std::shared_ptr<Resolver> resolver, EngineCounters* counters);

  // engine.cc
  std::optional<Error> idle_step(unsigned& quiet, Clock::time_point& idle_since, const Wait& wait);
  void sleep(Clock::time_point until);
  void run_tasks();
  void run_completions();
  void run_timers(Clock::time_point now);
  void set_timer(Channel& channel, Clock::time_point when);
  void set_link_timer(PeerLink& link, Clock::time_point when);
  Clock::time_point next_timer() const;
  void update_counters();

  // engine_endpoints.cc
  Endpoint install(const EndpointPlace& place);
  Channel* find(const Remote& remote) noexcept;
  Channel* find(std::uint32_t index, std::uint32_t serial) noexcept;
  /// The channel that a frame names, if it is not a former one.
  Channel* named_by(std::uint32_t wire_index) noexcept;
  Remote remote_of(const Channel& channel) const noexcept;
  Channel* open_channel(LocalEndpoint& local, EndpointId remote, std::uint64_t lineage,
                        std::uint32_t epoch);
  Result<Remote> reach(LocalEndpoint& local, const EndpointPlace& place);
  void linger(LocalEndpoint& local);
  std::string why_silent(const Channel& channel) const;
  Channel* make_channel(LocalEndpoint& local, EndpointId remote);
  void free_channel(Channel& channel);
  template <typename T>
  Result<T> ask(std::function<void(Resolver::Done<T>)> question, const Wait& wait);

  // engine_links.cc
  PeerLink& link_to(const fabric::EngineAddress& address, std::uint32_t dc);
  void join(Channel& channel, PeerLink& link);
  void dial(PeerLink& link);
  void serve(Channel& channel);  // makes sure that a wanted channel gets a session
  void on_established(fabric::Connection& connection) override;
  void on_closed(fabric::Connection& connection, const Error& reason) override;
  void on_writable(fabric::Connection& connection) override;
  void locate(Channel& channel);
  void located(Channel& channel, const Result<EndpointPlace>& place);
  void end(Channel& channel);

  // engine_return.cc
  void look_for_better(PeerLink& link);
  void plan_return(PeerLink& link, Clock::time_point now);
  void try_better(PeerLink& link);
  void on_link_timer(PeerLink& link, Clock::time_point now);
  bool outranked(const PeerLink& link, const fabric::Connection& connection) const;
  fabric::Connection* standing(const PeerLink& link) const;

  // engine_sessions.cc
  void on_frame(fabric::Connection& connection, const fabric::FrameHeader& header,
                std::span<const std::byte> payload, fabric::Buffer large) override;
  fabric::Buffer place(fabric::Connection& connection, const fabric::FrameHeader& header) override;
  void on_control(fabric::Connection& connection, const wire::Header& header,
                  std::span<const std::byte> payload);
  Channel* mirror_of(LocalEndpoint& local);
  void on_attach(fabric::Connection& connection, const wire::Attach& attach,
                 std::span<const std::byte> aboard);
  void on_attach_answer(fabric::Connection& connection, const wire::Header& header,
                        const wire::Attach& attach);
  void on_refused(fabric::Connection& connection, const wire::Header& header,
                  const wire::Refused& refused);
  void send_probe(Channel& channel);
  void on_probe(Channel& channel, const wire::Header& header);
  void on_report(Channel& channel, const wire::Header& header, const wire::Attach& attach);
  void start_session(Channel& channel, fabric::Connection& connection);
  std::size_t take_aboard(Channel& channel, std::span<std::byte> room);
  void unload(Channel& channel, const wire::Attach& attach, std::span<const std::byte> aboard);
  void apply(Channel& channel, const channel::ChannelCore::Effect& effect, bool in_new_session);
  void refuse(fabric::Connection& connection, const wire::Attach& attach,
              wire::RefusedReason reason, std::uint32_t session);
  void detach(Channel& channel);
  void fail_channel(Channel& channel, Error error);
  void on_timer(Channel& channel, Clock::time_point now);
  void send_report(Channel& channel, Number messages, Number replies, std::uint8_t flags = 0);
  bool post_control(fabric::Connection& connection, const wire::Header& header,
                    std::span<const std::byte> payload);
  template <typename T>
  bool post_control(fabric::Connection& connection, const wire::Header& header, const T& payload) {
    return post_control(connection, header, std::as_bytes(std::span(&payload, 1)));
  }

  // engine_moves.cc
  bool attend(LocalEndpoint& local);
  static bool hands_out_the_last(const LocalEndpoint& local);
  void drop_inbox(Channel& channel);
  void turn_away(Channel& channel);
  void tell_grant(Channel& channel);
  std::vector<Channel*> channels_of(LocalEndpoint& local) const;
  static bool answers_first(const Channel& channel);

  // engine_messages.cc
  fabric::FramePtr small_frame(Bytes payload) noexcept;
  Result<fabric::FramePtr> make_frame(Bytes payload);
  Result<fabric::FramePtr> make_frame(fabric::Buffer payload);
  Number enqueue(Channel& channel, Stream stream, fabric::FramePtr frame, wire::Type type,
                 std::uint8_t flags, std::uint16_t status, std::uint32_t call);
  bool transmit(Channel& channel, Stream stream, fabric::Frame& frame);
  void pump(Channel& channel);
  void want_pump(Channel& channel);
  void run_pump();
  Channel* with_room(const Remote& to) noexcept;
  Result<Channel*> wait_for_room(const Remote& to, const Wait* wait);
  void on_acks(Channel& channel, const wire::Header& header);
  void on_ack(Channel& channel, Stream stream, Number ack);
  void on_sequenced(Channel& channel, const fabric::FrameHeader& frame, const wire::Header& header,
                    std::span<const std::byte> payload, fabric::Buffer large);
  void taken(Channel& channel, Stream stream, Number number, bool now);
  void owe_ack(Channel& channel);
  void send_ack(Channel& channel);
  void flush_acks();
  void make_ready(Channel& channel);
  void after_take(Channel& channel);
  void watch(const Remote& remote, int change);
  void free_if_done(Channel& channel);
  Channel* next_ready(LocalEndpoint& local, bool requests_only);
  void send_notification(Channel& channel);
  void on_notify(Channel& channel, const wire::Header& header, std::span<const std::byte> payload);

  // engine_calls.cc
  void start_call(Channel& channel, PendingCall& call, fabric::FramePtr frame,
                  Clock::time_point until);
  void on_reply(Channel& channel, const wire::Header& header, fabric::FramePtr frame);
  void complete(PendingCall& call, Result<Message>&& result);
  void send_waiting_replies(Channel& channel);
  Result<void> wait_for_call(const Remote& to, const Wait* wait, Channel*& channel);
  void forget_call(PendingCall& call);
  void expire_calls(Channel& channel, Clock::time_point now);
  Result<void> reply_here(std::uint32_t channel, std::uint32_t serial, std::uint32_t number,
                          fabric::FramePtr frame, Errc status);

  // engine_grants.cc
  bool lease_out(Transfer& transfer);
  void recall(LocalEndpoint& local);
  void cut_lease(Transfer& transfer);
  void cut_stream(Transfer& transfer);
  bool is_open_to_peers(const LocalEndpoint& local) const;
  bool is_landing_on(const Transfer& transfer);
  void begin_transfer(Transfer& transfer);
  void hasten(Transfer& transfer);
  void drop(Transfer& transfer);
  void drop_transfers(Channel& channel);
  void suspend_transfers(Channel& channel);
  void advance_transfer(Transfer& transfer);
  void on_copy_request(Channel& channel, const wire::Header& header,
                       const wire::CopyRequest& request);
  void on_copy_end(Channel& channel, const wire::Header& header);
  void answer_copy(Channel& channel, std::uint32_t token, Errc status, std::uint64_t value,
                   bool final);

  // engine_copies.cc
  Result<void> run_copy(Copy& copy, const Wait& wait);
  void start_copy(Channel& channel, Copy& copy);
  void restart_copies(Channel& channel, bool in_new_session);
  void fail_copies(Channel& channel, const Error& error);
  void finish_copy(Copy& copy, Result<void> result);
  void run_copies();
  void conclude(Copy& copy);
  void advance_copy(Copy& copy);
  void request_copy(Copy& copy);
  void advance_leased(Copy& copy, const std::optional<Error>& error);
  void on_copy_lease(Channel& channel, const wire::Header& header, const wire::CopyLease& lease);
  void on_copy_recall(Channel& channel, const wire::Header& header);
  void on_copy_answer(Channel& channel, const wire::Header& header, const wire::CopyAnswer& answer);

  // engine_third_party.cc
  Result<void> push(const Remote& source, const GrantRef& from, std::uint64_t from_offset,
                    EndpointId target, std::uint64_t key, std::uint64_t length, const Wait& wait);
  void give_back(const Remote& owner, std::uint64_t key);
  void delegate(Channel& channel, std::uint32_t token, const Grant& from, Rights rights,
                const wire::CopyRequest& request);
  void end_parts(Channel& channel);
  std::shared_ptr<Grant> memory_of(const LocalEndpoint& local, const std::shared_ptr<Grant>& grant,
                                   std::uint64_t& offset, std::uint64_t length) const;
  void start_push(Channel& channel, std::uint32_t token, const std::shared_ptr<Grant>& grant,
                  std::uint64_t offset, const wire::CopyRequest& request);
  void cancel_pushes(const Channel& channel, std::optional<std::uint32_t> token = {});

  // engine_copy_frames.cc
  void on_copy_data(Channel& channel, const fabric::FrameHeader& frame, const wire::Header& header,
                    std::span<const std::byte> payload);
  fabric::Buffer place_data(fabric::Connection& connection, const wire::Header& header,
                            std::uint32_t length);
  struct CopyPlace {
    std::byte* at = nullptr;
    std::uint32_t* in_flight = nullptr;  // of the copy or transfer
  };
  CopyPlace copy_place(Channel& channel, const wire::Header& header, std::uint32_t length);
  void leave_behind(fabric::Connection* connection, const Channel& channel);
  bool post_data(Channel& channel, std::uint32_t token, std::uint64_t offset,
                 std::span<const std::byte> bytes, std::uint8_t flags, std::uint32_t* in_flight);
  void stream_copy(Copy& copy);
  void say_of_copy(Channel& channel, wire::Type type, std::uint32_t token,
                   std::span<const std::byte> payload = {});
  template <typename T>
  void say_of_copy(Channel& channel, wire::Type type, std::uint32_t token, const T& payload) {
    say_of_copy(channel, type, token, std::as_bytes(std::span(&payload, 1)));
  }
  bool owes_words(const Channel& channel) const;
  void say_unsaid();

  static constexpr std::uint32_t kCopyChunk = 256 << 10;  // bytes per streamed frame
  static constexpr std::uint32_t kCopyFrames = 16;        // streamed frames that wait to be sent

  // Empty polls between two looks at the clock. Who does not spin sleeps after the first.
  static constexpr unsigned kQuietRound = 64;
  static constexpr auto kDescriptorInterval = std::chrono::microseconds(20);
  static constexpr auto kAcceptorsPatience = std::chrono::milliseconds(400);
  static constexpr unsigned kMaxUnanswered = 3;
  static constexpr auto kProbeInterval = std::chrono::milliseconds(200);
  // After a refusal of an endpoint that the directory says is there.
  static constexpr auto kAskAgain = std::chrono::milliseconds(5);
  static constexpr auto kLastCall = std::chrono::milliseconds(1);
  static constexpr auto kGrantDelay = std::chrono::milliseconds(1);
  static constexpr auto kAttachTimeout = std::chrono::milliseconds(200);
  // How long what a peer said before its end may lie unread behind the directory's news of it.
  static constexpr auto kFarewell = std::chrono::milliseconds(20);
  static constexpr auto kLinger = std::chrono::milliseconds(250);
  static constexpr auto kMaxBackoff = std::chrono::milliseconds(200);
  // A better transport that has not answered for so long is waited for in the background.
  static constexpr auto kHeadStart = std::chrono::milliseconds(500);
  // From the better connection to the end of the worse one: the peer has to learn of the former.
  static constexpr auto kSettle = std::chrono::milliseconds(20);

  std::shared_ptr<Resolver> resolver_;
  std::unique_ptr<fabric::Fabric> fabric_;
  std::thread::id thread_;
  std::string address_blob_;
  ReturnPace return_pace_;
  EngineCounters* counters_;
  std::unique_ptr<EngineCounters> own_counters_;  // where no page was given

  std::vector<std::unique_ptr<LocalEndpoint>> endpoints_;
  std::unordered_map<EndpointId, LocalEndpoint*, EndpointIdHash> by_id_;
  std::vector<std::unique_ptr<Channel>> channels_;
  struct Use {
    std::uint32_t serial = 0;
    bool received = false;  // the channel that was freed last had nothing unacknowledged
  };
  std::vector<Use> uses_;  // by channel index
  std::vector<std::uint32_t> free_channels_;
  std::unordered_map<PeerKey, std::unique_ptr<PeerLink>, PeerKeyHash> links_;
  std::unordered_map<fabric::Connection*, PeerLink*> connections_;
  std::array<fabric::ConnectionCounters, 6>
      closed_sums_{};  // of connections that are gone, by kind

  std::vector<Channel*> pump_;                    // channels with frames that could not be sent yet
  std::vector<Channel*> ack_due_;                 // channels that owe an acknowledgement
  std::vector<Channel*> pumping_, ack_flushing_;  // the same lists while they are gone through
  std::priority_queue<Timer, std::vector<Timer>, std::greater<>> timers_;
  std::deque<std::pair<PendingCall*, Result<Message>>> completions_;  // asynchronous ones
  std::vector<Copy*> copies_;                         // this engine is the requester
  std::vector<std::unique_ptr<Transfer>> transfers_;  // this engine is the owner
  std::vector<std::shared_ptr<Push>> pushes_;         // of copies_, those for third parties
  std::vector<std::unique_ptr<Copy>> errands_;        // of copies_, those that nobody waits for
  struct Unsaid {
    std::uint32_t channel, serial, session;
    wire::Header header;
    std::vector<std::byte> payload;
  };
  std::vector<Unsaid> unsaid_;  // of copies, for want of room in the connection
  std::uint32_t next_token_ = 1;

  Clock::time_point last_descriptors_{};
  std::chrono::nanoseconds spin_{};
  unsigned quiet_round_ = kQuietRound;
  unsigned busy_rounds_ = 0;
  bool restless_ = false;  // an interlude has more to do: no sleep now

  std::shared_ptr<Mailbox> mailbox_ = std::make_shared<Mailbox>();
};

inline unsigned Engine::progress() {
  unsigned events = fabric_->progress();
  if (mailbox_->has_mail()) [[unlikely]] {
    run_tasks();
    ++events;
  }
  if (!pump_.empty()) [[unlikely]]
    run_pump();
  if (!copies_.empty() || !transfers_.empty() || !pushes_.empty() || !errands_.empty() ||
      !unsaid_.empty()) [[unlikely]]
    run_copies();
  if (!completions_.empty()) [[unlikely]] {
    run_completions();
    ++events;
  }
  return events;
}

template <typename Done>
std::optional<Error> Engine::progress_until(Done&& done, const Wait& wait) {
  unsigned quiet = 0;
  Clock::time_point idle_since{};
  for (;;) {
    const unsigned events = progress();
    if (done()) return std::nullopt;
    if (events != 0) {
      quiet = 0;
      idle_since = {};
      if ((++busy_rounds_ & 1023) != 0 && !wait.immediate()) continue;
    } else if (++quiet % quiet_round_ != 0 && !wait.immediate()) {
      __builtin_ia32_pause();
      continue;
    }
    if (auto error = idle_step(quiet, idle_since, wait)) {
      if (done()) return std::nullopt;
      return error;
    }
  }
}

inline Channel* Engine::find(std::uint32_t index, std::uint32_t serial) noexcept {
  if (index >= channels_.size() || uses_[index].serial != serial) return nullptr;
  return channels_[index].get();
}

inline Channel* Engine::named_by(std::uint32_t wire_index) noexcept {
  const std::uint32_t index = wire_index & (Channel::kMaxChannels - 1);
  if (index >= channels_.size()) return nullptr;
  Channel* channel = channels_[index].get();
  return channel != nullptr && channel->wire_index() == wire_index ? channel : nullptr;
}

inline Channel* Engine::find(const Remote& remote) noexcept {
  return find(remote.channel_, remote.serial_);
}

/// The channel if its window has a slot now, else null.
inline Channel* Engine::with_room(const Remote& to) noexcept {
  Channel* channel = find(to);
  const bool has_room = channel != nullptr && !channel->dead && !channel->parked &&
                        !channel->core.out(Stream::messages).full();
  return has_room ? channel : nullptr;
}

/// A frame with a payload that fits into it; null if this does not, or there is no memory.
inline fabric::FramePtr Engine::small_frame(Bytes payload) noexcept {
  if (payload.size() > fabric::kSmallPayload) return nullptr;
  fabric::FramePtr frame = fabric_->frames().allocate(static_cast<std::uint32_t>(payload.size()));
  if (frame != nullptr) std::ranges::copy(payload, frame->small());
  return frame;
}

}  // namespace godwit
