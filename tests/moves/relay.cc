// The relay: a movable server without a state that hands on what it is asked, and answers with what
// the bank answers. So it is a client of the bank, too, and a move must wait for its own calls.
#include <memory>

#include "godwit/godwit.h"
#include "godwit/movable.h"
#include "local_cluster/worker_line.h"
#include "options.h"

namespace moves {

namespace {

using namespace std::chrono_literals;
using godwit::local_cluster::read_command;
using godwit::local_cluster::WorkerLine;

constexpr auto kPatience = 30s;

template <typename T>
T need(godwit::Result<T> result, const char* what) {
  if (!result) {
    WorkerLine("failed").with("what", what).with("error", result.error().to_string()).say();
    std::_Exit(1);
  }
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

void hand_on(godwit::Endpoint& relay, const godwit::Remote& bank, godwit::Message message) {
  const godwit::Bytes payload = message.payload();
  if (message.kind() != godwit::Message::Kind::request) {
    return need(relay.send(bank, payload, kPatience), "send");
  }
  auto request =
      std::make_shared<godwit::Request>(need(relay.as_request(std::move(message)), "as_request"));
  need(relay.call_async(
           bank, request->payload(),
           [&relay, request](godwit::Result<godwit::Message> reply) {
             const godwit::Message answer = need(std::move(reply), "call");
             need(relay.reply(std::move(*request), answer.payload()), "reply");
           },
           kPatience),
       "call_async");
}

}  // namespace

int run_relay(const Options& options) {
  godwit::ProcessOptions process_options;
  process_options.runtime_directory = options.runtime_directory;
  process_options.program = kRelayProgram;
  process_options.spin = 0ns;
  auto process = need(godwit::Process::attach(process_options), "attach");
  auto movable = need(
      godwit::Movable::create(
          *process, {.program = kRelayProgram, .names = {kRelay}, .stand_by = options.stand_by}),
      "movable");
  bool finish = false;
  bool said = false;
  const auto say_ready = [&] {
    if (!std::exchange(said, true)) WorkerLine("ready").say();
  };
  const auto look = [&] {
    const auto command = read_command();
    finish = finish || command.closed || command.line == "finish";
  };
  if (options.stand_by) say_ready();
  while (!finish) {
    look();
    auto here = movable->serve(100ms);
    if (!here) {
      if (here.error().code != godwit::Errc::deadline_exceeded) need(std::move(here), "serve");
      continue;
    }
    say_ready();
    godwit::Endpoint& relay = movable->endpoint();
    const godwit::Remote bank = need(relay.wait_bound(kBank, kPatience), "wait_bound");
    while (!finish) {
      auto message = relay.receive(100ms);
      if (message) {
        hand_on(relay, bank, std::move(*message));
      } else if (message.error().code == godwit::Errc::moved) {
        break;
      } else if (message.error().code != godwit::Errc::deadline_exceeded) {
        need(std::move(message), "receive");
      }
      if (!message) look();
    }
  }
  WorkerLine("result").say();
  return 0;
}

}  // namespace moves
