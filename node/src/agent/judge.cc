#include "agent/judge.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "agent/tcp_socket.h"
#include "godwit/fabric/address.h"

namespace godwit::node {

namespace {
using namespace std::chrono_literals;
constexpr auto kLookAgain = 100ms;
constexpr auto kOrphanLimit = 10s;
constexpr auto kWriteLimit = 5s;
constexpr auto kReadLimit = 2s;
}  // namespace

Judge::Judge(EventLoop& loop, coord::Directory& directory, NodeTable& nodes, Prober& prober,
             std::string self, std::chrono::milliseconds node_grace, Local local)
    : loop_(loop),
      directory_(directory),
      nodes_(nodes),
      prober_(prober),
      self_(std::move(self)),
      node_grace_(node_grace),
      local_(std::move(local)) {}

Judge::~Judge() {
  for (auto& [number, each] : cases_) loop_.cancel(each.timer);
}

Judge::Case* Judge::find(std::uint64_t number) {
  const auto found = cases_.find(number);
  return found == cases_.end() ? nullptr : &found->second;
}

void Judge::judge(const Known& endpoint, Clock::time_point deadline, Done done) {
  const std::uint64_t number = next_++;
  Case fresh;
  fresh.endpoint = endpoint;
  fresh.deadline = deadline;
  fresh.done = std::move(done);
  cases_.emplace(number, std::move(fresh));
  look(number);
}

void Judge::nodes_changed() {
  std::vector<std::uint64_t> open;
  for (const auto& [number, each] : cases_) {
    if (!each.probing) open.push_back(number);
  }
  for (const auto number : open) look(number);
}

void Judge::look(std::uint64_t number) {
  Case* it = find(number);
  if (it == nullptr || it->probing) return;
  loop_.cancel(it->timer);
  if (Clock::now() >= it->deadline) return finish(number, Verdict::alive);
  const auto& owner = it->endpoint->record.owner();
  if (owner.node() == self_) {
    if (const auto verdict = local_(*it->endpoint)) return finish(number, *verdict);
    return again_after(number, kLookAgain);
  }
  if (!nodes_.loaded()) return again_after(number, kLookAgain);
  it->probing = true;
  it->agent.reset();
  it->engine.reset();
  const NodeTable::Node* node = nodes_.find(owner.node());
  std::optional<fabric::SocketAddress> address;
  if (node != nullptr && node->record.addresses_size() > 0) {
    if (auto parsed = parse_socket_address(node->record.addresses(0))) address = *parsed;
  }
  if (address) {
    prober_.agent(*address, owner.node(), node->record.incarnation(),
                  [this, number, alive = lifetime_.token()](ProbeResult result) {
                    if (!*alive) return;
                    if (Case* asked = find(number)) asked->agent = result;
                    decide(number);
                  });
  } else {
    // An agent that this one never saw: there is nobody to ask.
    it->agent = ProbeResult::silent;
  }
  probe_engine(number);
}

void Judge::probe_engine(std::uint64_t number) {
  Case* it = find(number);
  const auto address = fabric::EngineAddress::parse(it->endpoint->record.engine_address());
  if (!address || address->tcp.empty()) {
    it->engine = ProbeResult::silent;
    return decide(number);
  }
  it->engine_probes = address->tcp.size();
  for (const auto& tcp : address->tcp) {
    prober_.listener(tcp, [this, number, alive = lifetime_.token()](ProbeResult result) {
      if (!*alive) return;
      Case* asked = find(number);
      if (asked == nullptr) return;
      --asked->engine_probes;
      // Any that accepts speaks for the engine; refusal only if all refuse.
      if (!asked->engine || result == ProbeResult::answered ||
          (result == ProbeResult::silent && *asked->engine == ProbeResult::refused)) {
        asked->engine = result;
      }
      if (asked->engine_probes == 0) decide(number);
    });
  }
}

void Judge::decide(std::uint64_t number) {
  Case* it = find(number);
  if (it == nullptr || !it->agent || !it->engine || it->engine_probes != 0) return;
  it->probing = false;
  const auto& owner = it->endpoint->record.owner();
  const NodeTable::Node* node = nodes_.find(owner.node());
  const bool present = node != nullptr && node->present;
  const bool same_agent = present && node->record.incarnation() == owner.node_incarnation();
  const bool agent_answers = *it->agent == ProbeResult::answered;

  if (agent_answers && same_agent) return finish(number, Verdict::alive);
  if (*it->engine == ProbeResult::refused &&
      (*it->agent == ProbeResult::refused || (agent_answers && !same_agent))) {
    return finish(number, Verdict::lost);
  }
  if (present) {
    // A new agent of that node settles it as soon as its processes had their time to come back.
    if (agent_answers || *it->engine == ProbeResult::answered)
      return finish(number, Verdict::alive);
    return again_after(number, kLookAgain);
  }
  const auto absent = Clock::now() - (node != nullptr ? node->vanished : nodes_.loaded_at());
  if (agent_answers) return finish(number, Verdict::alive);
  if (*it->engine == ProbeResult::answered && absent < kOrphanLimit) {
    return finish(number, Verdict::alive);
  }
  if (absent >= node_grace_) return confirm_absence(number);
  again_after(number, std::chrono::ceil<std::chrono::milliseconds>(node_grace_ - absent) + 1ms);
}

void Judge::confirm_absence(std::uint64_t number) {
  Case* it = find(number);
  it->probing = true;
  directory_.get_node(it->endpoint->record.owner().node(), coord::after(kReadLimit),
                      on_loop<coord::NodeEntry>(
                          loop_, lifetime_, [this, number](coord::Result<coord::NodeEntry> node) {
                            Case* asked = find(number);
                            if (asked == nullptr) return;
                            asked->probing = false;
                            if (node) {
                              nodes_.refresh();
                              again_after(number, kLookAgain);
                            } else if (node.error().code == coord::Errc::no_node) {
                              finish(number, Verdict::lost);
                            } else {
                              // Without the directory nobody can be called lost.
                              finish(number, Verdict::alive);
                            }
                          }));
}

void Judge::again_after(std::uint64_t number, std::chrono::milliseconds delay) {
  Case* it = find(number);
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(it->deadline - Clock::now());
  it->timer = loop_.after(std::max(std::min(delay, left), 0ms), [this, number] {
    if (Case* due = find(number)) due->timer = 0;
    look(number);
  });
}

void Judge::finish(std::uint64_t number, Verdict verdict) {
  auto it = cases_.extract(number);
  Case& done = it.mapped();
  loop_.cancel(done.timer);
  if (verdict == Verdict::alive) return done.done(done.endpoint);
  const auto& record = done.endpoint->record;
  // Many may ask at once.
  if (std::exchange(last_lost_, done.endpoint->id()) != done.endpoint->id()) {
    spdlog::info("{} of process {} on node {} is judged lost", done.endpoint->label(),
                 record.owner().pid(), record.owner().node());
  }
  directory_.mark_dead(
      done.endpoint->dc, record.slot(), record.generation(), record.owner().process(),
      coord::after(kWriteLimit),
      on_loop<void>(
          loop_, lifetime_,
          [this, endpoint = done.endpoint, answer = done.done](coord::Result<void> marked) {
            if (marked) {
              answer(endpoint->with_state(coord::proto::DEAD));
            } else if (marked.error().code == coord::Errc::endpoint_stale) {
              look_how_settled(endpoint, answer);
            } else {
              answer(endpoint);
            }
          }));
}

// Somebody else was faster: the id is over, or the endpoint has moved to another process.
void Judge::look_how_settled(const Known& endpoint, const Done& answer) {
  directory_.get_endpoint(
      endpoint->dc, endpoint->record.slot(), coord::after(kReadLimit),
      on_loop<coord::EndpointEntry>(
          loop_, lifetime_, [endpoint, answer](coord::Result<coord::EndpointEntry> entry) {
            const bool readable = entry || entry.error().code == coord::Errc::endpoint_stale ||
                                  entry.error().code == coord::Errc::dc_unknown;
            // Without the directory nobody can be called lost.
            if (!readable) return answer(endpoint);
            const Known now = entry ? make_known(endpoint->dc, std::move(entry->record)) : nullptr;
            const bool same = now && now->id() == endpoint->id();
            answer(same ? now : endpoint->with_state(coord::proto::UNBOUND));
          }));
}

}  // namespace godwit::node
