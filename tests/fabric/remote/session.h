// Session: the peer process of a test. It does with one engine what the test tells it, a line for
// each command, and answers each with a line: `ok WORDS` or `failed SENTENCE`.
//
//   engine TRANSPORT NODE KEY DC HANDSHAKE_MS VERSION_MIN VERSION_MAX MAX_PAYLOAD
//                            its address, as hex
//   dial ADDRESS DC
//   links                    how many connections were established, and how many closed, in all
//   peer LINK                kind engine node dc version features max_payload dialed
//   closure N                code and sentence of the Nth connection that closed
//   send LINK COUNT TAG SIZE...
//                            queues frames; they leave as there is room
//   sent LINK                how many left, and 1 if the connection has no room now
//   received LINK            the Series: frames bytes hash wrong dropped
//   echo LINK                sends each frame of the link back from now on
//   place none|arena         where large payloads go
//   close LINK
//   still, go                makes no progress, goes on
//   asleep                   1 if the engine sleeps, 1 if it waits for a deadline; its wakes
//   memory                   bytes of the arena and frames in use
//   descriptors              open ones of this process
//   end                      ends the engine
//   die                      kills this process; no answer
//
// A LINK is the number of an established connection, from 0, in the order in which they came. The
// engine sleeps whenever its transport lets it, and commands that do not concern it do not wake it:
// what arrives only because a test asks is a lost wake-up that a test sees. One thread.
#pragma once

#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "fabric/remote/line_socket.h"
#include "fabric/remote/series.h"

namespace godwit::fabric::testing {

class Session {
 public:
  /// Owns the control connection.
  explicit Session(int control) : control_(control) {}

  /// Until the control connection ends.
  void run();

 private:
  struct Link {
    Connection* connection = nullptr;  // null once it is closed
    Series received;
    std::deque<Outgoing> outgoing;
    std::uint64_t posted = 0;
    bool blocked = false;
    bool echo = false;
  };
  struct Command;
  static const std::vector<Command>& commands();

  Result<std::string> answer(const Words& words);
  Result<std::string> make_engine(const Words& words);
  Result<std::string> dial(const Words& words);
  Result<std::string> links(const Words& words);
  Result<std::string> peer(const Words& words);
  Result<std::string> closure(const Words& words);
  Result<std::string> send(const Words& words);
  Result<std::string> sent(const Words& words);
  Result<std::string> received(const Words& words);
  Result<std::string> echo(const Words& words);
  Result<std::string> place(const Words& words);
  Result<std::string> close(const Words& words);
  Result<std::string> still(const Words& words);
  Result<std::string> go(const Words& words);
  Result<std::string> asleep(const Words& words);
  Result<std::string> memory(const Words& words);
  Result<std::string> descriptors(const Words& words);
  Result<std::string> end(const Words& words);
  Result<std::string> die(const Words& words);

  Result<Link*> link(const std::string& word);
  void follow(TestEngine& engine);
  bool works() const { return engine_ != nullptr && !still_; }
  void step();
  unsigned post();
  void wait();
  void wake();

  LineSocket control_;
  std::unique_ptr<TestEngine> engine_;
  std::deque<Link> links_;  // stay where they are: connections refer to theirs
  bool still_ = false;
  bool armed_ = false;  // asleep: nothing but the poller's descriptor or a deadline ends it
  bool short_of_memory_ = false;
  std::uint64_t wakes_ = 0;
};

}  // namespace godwit::fabric::testing
