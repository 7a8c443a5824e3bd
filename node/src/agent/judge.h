// Judge: whether an endpoint's owner is lost though the directory still calls it bound.
//
// A lost agent alone loses nothing: its processes go on, and it takes them over when it is back. So
// an owner is lost only by these rules, on the evidence of the directory, of the agent's TCP port
// and of the engine's own:
//   1. Nobody answers at the agent's port nor at the engine's while their host does (connections
//   are
//      refused): lost, whatever the directory still believes.
//   2. The node's record is gone for longer than the grace (and still, when read afresh: a watch
//   may
//      lag behind a node's return), and its agent does not answer: lost, unless the engine accepts
//      connections. For kOrphanLimit that is believed, then not any more: by then the port may be
//      somebody else's.
//   3. Everything else: alive as far as anybody knows.
// An owner found lost is marked dead in the directory before anybody is told, so that nobody is
// told of a death that is not final.
//
// Owner: the Agent. Loop's thread.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "agent/known_endpoint.h"
#include "agent/node_table.h"
#include "agent/probe.h"

namespace godwit::node {

class Judge {
 public:
  enum class Verdict : std::uint8_t { alive, lost };
  /// What this node's own processes are: alive, lost, or nothing yet (nullopt).
  using Local = std::function<std::optional<Verdict>(const KnownEndpoint&)>;
  /// The endpoint as it is after the judgement: dead if lost.
  using Done = std::function<void(Known)>;

  Judge(EventLoop& loop, coord::Directory& directory, NodeTable& nodes, Prober& prober,
        std::string self, std::chrono::milliseconds node_grace, Local local);
  ~Judge();

  /// Answers as soon as one of the rules decides, and with the endpoint as given at `deadline`.
  void judge(const Known& endpoint, Clock::time_point deadline, Done done);

  /// The nodes changed: undecided cases are looked at again.
  void nodes_changed();

 private:
  struct Case {
    Known endpoint;
    Clock::time_point deadline;
    Done done;
    std::optional<ProbeResult> agent, engine;
    std::size_t engine_probes = 0;
    bool probing = false;
    EventLoop::TimerId timer = 0;
  };

  void look(std::uint64_t number);
  void probe_engine(std::uint64_t number);
  void decide(std::uint64_t number);
  void confirm_absence(std::uint64_t number);
  void again_after(std::uint64_t number, std::chrono::milliseconds delay);
  void finish(std::uint64_t number, Verdict verdict);
  void look_how_settled(const Known& endpoint, const Done& answer);
  Case* find(std::uint64_t number);

  EventLoop& loop_;
  coord::Directory& directory_;
  NodeTable& nodes_;
  Prober& prober_;
  const std::string self_;
  const std::chrono::milliseconds node_grace_;
  const Local local_;
  std::uint64_t next_ = 1;
  std::map<std::uint64_t, Case> cases_;
  EndpointId last_lost_;  // said in the log
  Lifetime lifetime_;
};

}  // namespace godwit::node
