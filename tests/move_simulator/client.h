// SimClient: calls the endpoints of the group, sends again to wherever it believes they are, and
// learns where they are: from an attach with a higher epoch, from the directory when it is refused,
// or when nothing comes back for a while. Owned by the World.
#pragma once

#include "message.h"
#include "party.h"

namespace godwit::move_simulator {

class World;

class SimClient : public Party {
 public:
  SimClient(World& world, ClientId id, NodeId node, ProcessId server,
            const std::array<migrate::Epoch, Weather::kMaxEndpoints>& epochs);

  NodeId node() const noexcept { return node_; }
  void handle(const Event& event);
  /// A call has neither been answered nor ended otherwise.
  bool waits() const noexcept;
  std::uint32_t calls() const noexcept { return calls_; }

 private:
  static constexpr std::uint32_t kWindow = 5;
  static constexpr std::uint32_t kMaxNumber = 60;

  struct Peer {
    ProcessId place = 0;
    migrate::Epoch epoch = 0;
    std::uint32_t next = 1;
    std::uint32_t received = 0;  // by the server: it need not be sent again
    std::uint64_t answered = 1;  // a bit for each number; 0 is none
    std::uint32_t known = 0;     // all numbers up to here are answered
    bool dead = false;
    bool asked = false;  // the directory
  };

  void call();
  void send(std::uint32_t endpoint);
  void on_message(const Message& message);
  void learn(Peer& peer, std::uint32_t endpoint, ProcessId place, migrate::Epoch epoch);
  void ask(std::uint32_t endpoint);
  void on_record(std::uint32_t endpoint, std::uint32_t revision);
  void set_timer();
  bool waits(const Peer& peer) const noexcept { return !peer.dead && peer.known + 1 < peer.next; }

  World* world_;
  ClientId id_;
  NodeId node_;
  std::array<Peer, Weather::kMaxEndpoints> peers_;
  bool timer_ = false;
  std::uint32_t calls_ = 0;
};

}  // namespace godwit::move_simulator
