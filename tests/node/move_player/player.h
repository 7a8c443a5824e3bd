// Player: the process side of moves over a raw connection to the agent, for tests: it answers the
// agent's orders by reports as a process would, but no state moves. It can be told to hold an
// answer back. One thread.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "godwit/agent_protocol.h"
#include "godwit/endpoints/agent.pb.h"
#include "godwit/migrate/move.h"

namespace godwit::move_player {

class Player {
 public:
  struct Options {
    std::string run;
    std::string program;  // to stand by for; empty: none
    std::uint64_t move = 0;
    /// Reports that wait for the command `say`; "go": that order is not heard the first time.
    std::set<std::string> hold;
  };

  explicit Player(Options options);
  ~Player();
  Player(const Player&) = delete;
  Player& operator=(const Player&) = delete;

  /// Until its standard input ends. Prints a line for each thing that happens.
  int run();

 private:
  using Request = endpoints::proto::Request;
  using Response = endpoints::proto::Response;
  /// Its present state in a move, said again after each attach.
  struct Part {
    endpoints::proto::MoveReport report;
    std::vector<endpoints::proto::Place> members;
    std::string dc;
  };

  bool connect_to_agent();
  void attach(bool again);
  void send(Request request);
  bool read_agent();
  bool read_commands();
  void command(const std::string& line);
  void take(const Response& response);
  void take_bound(const endpoints::proto::BindReply& reply);
  void take_order(const endpoints::proto::MoveOrder& order);
  void bind(const std::string& dc, const std::string& name, const std::string& program);
  void answer(std::uint64_t move, migrate::Report report);
  void say(std::uint64_t move, migrate::Report report);
  void stand_by();

  const Options options_;
  const std::uint64_t process_;
  std::set<std::string> hold_;
  int fd_ = -1;
  bool standing_by_ = false;
  std::uint64_t next_number_ = 1;
  agent_protocol::MessageReader reader_;
  std::string commands_;
  std::map<std::string, endpoints::proto::Place> held_;  // by id
  std::map<std::uint64_t, std::uint64_t> docking_;       // moves, by the number of their bind
  std::map<std::uint64_t, Part> parts_;
};

}  // namespace godwit::move_player
