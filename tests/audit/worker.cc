#include "worker.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "endpoints/own_counters.h"
#include "godwit/godwit.h"
#include "grants.h"
#include "history.h"
#include "local_cluster/worker_line.h"

namespace audit {

namespace {

using namespace std::chrono_literals;
using godwit::Errc;
using godwit::Message;
using godwit::Outcome;
using godwit::fabric::TransportKind;
using godwit::local_cluster::read_command;
using godwit::local_cluster::WorkerLine;
using Clock = std::chrono::steady_clock;

constexpr auto kBindLimit = 10s;
constexpr auto kDrainLimit = 20s;
constexpr int kBurst = 16;                    // operations to one peer before the next one's turn
constexpr int kTakeAtOnce = 128;              // arrivals before the next turn of sending
constexpr std::uint32_t kCallsInFlight = 64;  // to one peer
constexpr std::size_t kHeldReplies = 16;
constexpr std::uint64_t kSaltCheck = 0x9E3779B97F4A7C15u;

struct Operation {
  std::uint16_t actor;
  std::uint16_t target;  // the worker it is meant for
  std::uint8_t is_call;
  std::array<std::uint8_t, 3> unused;
  std::uint64_t number;
  std::uint64_t call;   // if it is one
  std::uint64_t check;  // of the fields above and the size
};
static_assert(sizeof(Operation) == 32);

/// A reply: the operation again, and the grant that its caller has now.
struct Answer {
  Operation operation;
  GrantAudit::Offer offer;
};
static_assert(sizeof(Answer) == 72);

std::uint64_t checksum(const Operation& operation, std::size_t size) {
  std::uint64_t sum = operation.number * kSaltCheck ^ operation.call << 17 ^ size;
  sum ^= (std::uint64_t{operation.actor} << 48) ^ (std::uint64_t{operation.target} << 32);
  return (sum ^ sum >> 31) * kSaltCheck + operation.is_call;
}
// What stands behind the operation: a byte that goes by the number, the same throughout.
std::byte filling(std::uint64_t number) {
  return static_cast<std::byte>(number * 167 + 13);
}

[[noreturn]] void give_up(const std::string& what, const std::string& error) {
  WorkerLine("failed").with("what", what).with("error", error).say();
  std::_Exit(1);
}

template <typename T>
T need(godwit::Result<T> result, const std::string& what) {
  if (!result) give_up(what, result.error().to_string());
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

struct Peer {
  std::uint16_t worker = 0;
  std::optional<godwit::Remote> remote;
  godwit::EndpointId former;  // the life that died last
  Clock::time_point look_again{};
  std::uint64_t issued = 0, calls = 0;
  std::uint32_t in_flight = 0;
  // The operation whose turn it is: chosen and written down, not accepted yet.
  std::optional<Operation> next;
  std::size_t next_size = 0;
};

class Worker {
 public:
  Worker(const Options& options, HistoryWriter history)
      : options_(options),
        history_(std::move(history)),
        random_(options.seed * 1000003 + options.actor),
        grants_(options.seed * 7919 + options.actor,
                [this](const std::string& what) { complain(what); }) {
    for (const std::string& name : options.transports) {
      transports_.push_back(need(godwit::fabric::parse_transport(name), "--transports"));
    }
  }

  int run();

 private:
  void start();
  bool look_up(Peer& peer);
  unsigned send_to(Peer& peer);
  bool issue(Peer& peer);
  void choose(Peer& peer);
  void finish(Peer& peer, std::uint64_t call, const godwit::Result<Message>& reply);
  void on_refused(Peer& peer, const godwit::Error& error);
  unsigned take(const godwit::Wait& wait);
  void execute(Message message);
  void answer(godwit::Request request, const Operation& operation);
  void answer_held(bool all);
  void cut_now_and_then();
  void obey();
  void say_progress();
  void say_result();

  bool quota_done(const Peer& peer) const {
    return !peer.next && (draining_ || (options_.quota != 0 && peer.issued >= options_.quota));
  }
  bool settled() const {
    return std::all_of(peers_.begin(), peers_.end(), [this](const Peer& peer) {
      return quota_done(peer) && peer.in_flight == 0;
    });
  }
  std::uint64_t pick(std::uint64_t below) { return random_() % below; }
  void record(Stream stream, std::uint16_t other, std::uint64_t number) {
    if (!history_.add(stream, other, number)) give_up("history", "the file is full");
  }
  // With a quota to fulfil nobody is killed.
  void told_of_death(const godwit::Error& error) const {
    if (options_.quota != 0) give_up("told of a death that did not happen", error.to_string());
  }
  void complain(const std::string& what) {
    if (complaints_++ == 0) first_complaint_ = what;
  }

  const Options& options_;
  HistoryWriter history_;
  std::mt19937_64 random_;
  GrantAudit grants_;
  std::vector<TransportKind> transports_;
  std::unique_ptr<godwit::Process> process_;
  godwit::Endpoint me_;
  std::vector<Peer> peers_;
  struct Sender {
    std::uint64_t last = 0, last_call = 0;
  };
  std::vector<Sender> senders_ = std::vector<Sender>(HistoryWriter::kOthers);
  struct Held {
    godwit::Request request;
    Operation operation;
  };
  std::vector<Held> held_;
  std::vector<std::byte> bytes_;
  std::array<std::uint64_t, 8> seen_over_{};  // samples, by TransportKind
  Clock::time_point next_cut_{}, next_say_{};
  std::uint64_t accepted_ = 0, executed_ = 0, cuts_ = 0, complaints_ = 0;
  std::string first_complaint_;
  bool draining_ = false, said_done_ = false, finish_ = false;
};

void Worker::start() {
  godwit::ProcessOptions options;
  options.runtime_directory = options_.runtime_directory;
  options.program = "audit-" + std::to_string(options_.worker);
  options.transports = transports_;
  // A cut goes on over any transport, and from there back to the best one, before the next cut.
  options.return_pace = {50ms, 400ms};
  // Many more processes than cores: whoever polls takes the time of somebody who has work.
  options.spin = 0ns;
  process_ = need(godwit::Process::attach(options), "attach");
  const std::string name = worker_name(options_.worker);
  while (true) {
    auto bound = process_->bind(name);
    if (bound) {
      me_ = std::move(*bound);
      break;
    }
    // The life before this one was killed, and the agent has not seen it yet.
    if (bound.error().code != Errc::name_taken) give_up("bind", bound.error().to_string());
    auto waiter = need(process_->bind_anonymous(kDc), "bind");
    need(waiter.wait_unbound(name, kBindLimit), "wait_unbound");
  }
  for (unsigned worker = 0; worker < options_.processes; ++worker) {
    if (worker == options_.worker) continue;
    Peer peer;
    peer.worker = static_cast<std::uint16_t>(worker);
    peer.remote = need(me_.wait_bound(worker_name(worker), kBindLimit), "wait_bound");
    peers_.push_back(peer);
  }
}

bool Worker::look_up(Peer& peer) {
  if (peer.remote) return true;
  const auto now = Clock::now();
  if (now < peer.look_again) return false;
  peer.look_again = now + 10ms;
  auto found = me_.lookup(worker_name(peer.worker), 5ms);
  if (!found || found->id() == peer.former) return false;
  peer.remote = *found;
  return true;
}

void Worker::choose(Peer& peer) {
  Operation operation{};
  operation.actor = static_cast<std::uint16_t>(options_.actor);
  operation.target = peer.worker;
  operation.number = ++peer.issued;
  // The last one is a call: its reply tells that everything before it has arrived as well.
  operation.is_call = peer.issued == options_.quota || pick(2) == 0 ? 1 : 0;
  if (operation.is_call != 0) operation.call = ++peer.calls;
  const std::uint64_t dice = pick(1000);
  std::size_t size = sizeof(Operation) + pick(64);
  if (dice < 50) size = sizeof(Operation) + pick(2048);
  if (dice == 0) size = sizeof(Operation) + pick(40'000);
  operation.check = checksum(operation, size);
  record(Stream::issued, peer.worker, operation.number);
  if (operation.is_call != 0) record(Stream::issued_calls, peer.worker, operation.call);
  peer.next = operation;
  peer.next_size = size;
}

// Tries to hand over the operation whose turn it is; true if that was the end of it.
bool Worker::issue(Peer& peer) {
  const Operation operation = *peer.next;
  if (operation.is_call != 0 && peer.in_flight >= kCallsInFlight) return false;
  bytes_.assign(peer.next_size, filling(operation.number));
  std::memcpy(bytes_.data(), &operation, sizeof operation);
  if (operation.is_call != 0) ++peer.in_flight;
  const auto accepted =
      operation.is_call == 0
          ? me_.try_send(*peer.remote, bytes_)
          : me_.call_async(*peer.remote, bytes_,
                           [this, &peer, call = operation.call](godwit::Result<Message> reply) {
                             finish(peer, call, reply);
                           });
  if (accepted) {
    ++accepted_;
    peer.next.reset();
    return true;
  }
  if (operation.is_call != 0) --peer.in_flight;
  if (accepted.error().code == Errc::would_block) return false;
  on_refused(peer, accepted.error());
  return true;
}

void Worker::on_refused(Peer& peer, const godwit::Error& error) {
  const Operation operation = *peer.next;
  peer.next.reset();
  record(Stream::refused, peer.worker, operation.number);
  if (operation.is_call != 0) {
    record(error.outcome == Outcome::unknown ? Stream::unknown : Stream::not_executed, peer.worker,
           operation.call);
  }
  if (error.code != Errc::endpoint_died) return complain("refused: " + error.to_string());
  told_of_death(error);
  grants_.forget(peer.worker);
  peer.former = peer.remote->id();
  peer.remote.reset();
}

void Worker::finish(Peer& peer, std::uint64_t call, const godwit::Result<Message>& reply) {
  --peer.in_flight;
  if (!reply) {
    const bool unknown = reply.error().outcome == Outcome::unknown;
    record(unknown ? Stream::unknown : Stream::not_executed, peer.worker, call);
    const Errc code = reply.error().code;
    if (code != Errc::endpoint_died)
      complain("call: " + reply.error().to_string());
    else
      told_of_death(reply.error());
    return;
  }
  record(Stream::ok, peer.worker, call);
  Operation echoed{};
  if (reply->payload().size() != sizeof(Answer)) return complain("a reply of another size");
  std::memcpy(&echoed, reply->payload().data(), sizeof echoed);
  if (echoed.call != call || echoed.actor != options_.actor || echoed.target != peer.worker) {
    return complain("the reply of another call");
  }
  grants_.on_offer(peer.worker, reply->payload().subspan(sizeof echoed));
}

unsigned Worker::send_to(Peer& peer) {
  unsigned done = 0;
  for (int i = 0; i < kBurst && !quota_done(peer); ++i) {
    if (!look_up(peer)) break;
    if (!peer.next) choose(peer);
    if (!issue(peer)) break;
    ++done;
    if (pick(1000) < options_.copies) grants_.copy(me_, peer.worker);
  }
  return done;
}

void Worker::execute(Message message) {
  Operation operation{};
  const auto payload = message.payload();
  if (payload.size() < sizeof operation) return complain("a message cut short");
  std::memcpy(&operation, payload.data(), sizeof operation);
  const std::byte fill = filling(operation.number);
  if (operation.check != checksum(operation, payload.size()) ||
      (payload.size() > sizeof operation && payload.back() != fill)) {
    return complain("a message with wrong contents");
  }
  const bool is_request = message.kind() == Message::Kind::request;
  if (operation.target != options_.worker || operation.actor >= senders_.size()) {
    return complain("a message for somebody else");
  }
  if (is_request != (operation.is_call != 0)) complain("a message that became a request, or back");
  // Written down before the reply leaves: a killed server's history has whatever a caller knows of.
  record(Stream::executed, operation.actor, operation.number);
  if (operation.is_call != 0) record(Stream::executed_calls, operation.actor, operation.call);
  ++executed_;
  Sender& sender = senders_[operation.actor];
  if (sender.last != 0 && operation.number != sender.last + 1) complain("a number out of turn");
  sender.last = operation.number;
  if (!is_request) return;
  auto request = need(me_.as_request(std::move(message)), "as_request");
  if (pick(32) == 0) {
    // Replies may come in any order: this one comes later.
    held_.push_back({std::move(request), operation});
    return;
  }
  answer(std::move(request), operation);
}

void Worker::answer(godwit::Request request, const Operation& operation) {
  const Answer answer{operation, grants_.offer_to(me_, request.source())};
  need(me_.reply(std::move(request), std::as_bytes(std::span(&answer, 1))), "reply");
}

void Worker::answer_held(bool all) {
  while (!held_.empty() && (all || held_.size() > kHeldReplies)) {
    std::swap(held_[pick(held_.size())], held_.back());
    Held held = std::move(held_.back());
    held_.pop_back();
    answer(std::move(held.request), held.operation);
  }
}

unsigned Worker::take(const godwit::Wait& wait) {
  auto message = me_.receive(wait);
  if (!message) return 0;
  unsigned taken = 1;
  execute(std::move(*message));
  for (; taken < kTakeAtOnce; ++taken) {
    auto more = me_.receive(0ms);
    if (!more) break;
    execute(std::move(*more));
  }
  return taken;
}

void Worker::cut_now_and_then() {
  const auto now = Clock::now();
  if (options_.cuts_per_second <= 0 || now < next_cut_) return;
  if (next_cut_ != Clock::time_point{} && !draining_) {
    for (const Peer& peer : peers_) {
      if (!peer.remote) continue;
      if (const auto kind = process_->transport_to(me_, *peer.remote)) {
        ++seen_over_[static_cast<std::size_t>(*kind)];
      }
    }
    cuts_ += process_->cut_connections(transports_[pick(transports_.size())]);
  }
  const double mean = 1e6 / options_.cuts_per_second;
  next_cut_ = now + std::chrono::microseconds(
                        static_cast<std::uint64_t>(mean * (0.5 + double(pick(1000)) / 1000)));
}

void Worker::obey() {
  const auto command = read_command();
  if (command.line == "drain") draining_ = true;
  if (command.line == "finish") finish_ = true;
  if (command.closed && command.line.empty()) give_up("conductor", "gone");
}

void Worker::say_progress() {
  const auto now = Clock::now();
  if (now < next_say_) return;
  next_say_ = now + 500ms;
  WorkerLine("progress").with("done", accepted_).say();
  obey();
}

void Worker::say_result() {
  WorkerLine line("result");
  line.with("accepted", accepted_).with("executed", executed_).with("cuts", cuts_);
  line.with("copies", grants_.copies()).with("taken_back", grants_.taken_back());
  using PerTransport = godwit::EngineCounters::PerTransport;
  for (const auto kind : {TransportKind::shm, TransportKind::verbs}) {
    const std::string& folder = options_.runtime_directory;
    line.with("one_sided_" + std::string(to_string(kind)),
              godwit::own_counter(folder, kind, &PerTransport::bytes_fetched) +
                  godwit::own_counter(folder, kind, &PerTransport::bytes_written));
  }
  line.with("complaints", complaints_).with("first", first_complaint_);
  for (const auto kind :
       {TransportKind::shm, TransportKind::verbs, TransportKind::tcp, TransportKind::ucx}) {
    line.with(std::string(to_string(kind)), seen_over_[static_cast<std::size_t>(kind)]);
  }
  line.say();
}

int Worker::run() {
  start();
  WorkerLine("ready").say();
  std::size_t turn = 0;
  Clock::time_point drained_by = Clock::time_point::max();
  while (!finish_) {
    unsigned done = 0;
    for (std::size_t i = 0; i < peers_.size(); ++i)
      done += send_to(peers_[(turn + i) % peers_.size()]);
    ++turn;
    done += take(0ms);
    answer_held(done == 0);
    grants_.tend(me_);
    cut_now_and_then();
    say_progress();
    if (done == 0)
      take(2ms);  // sleeps until something arrives; room in a window comes that way, too
    if (draining_ && drained_by == Clock::time_point::max())
      drained_by = Clock::now() + kDrainLimit;
    if (!said_done_ && settled()) {
      said_done_ = true;
      WorkerLine("done").with("accepted", accepted_).say();
    }
    if (!said_done_ && Clock::now() > drained_by) give_up("drain", "calls stay without an outcome");
  }
  history_.set_clean();
  say_result();
  return 0;
}

}  // namespace

int run_worker(const Options& options) {
  auto history = HistoryWriter::create(options.history, static_cast<std::uint16_t>(options.worker),
                                       static_cast<std::uint16_t>(options.actor));
  if (!history) give_up("history", history.error().to_string());
  return std::make_unique<Worker>(options, std::move(*history))->run();
}

}  // namespace audit
