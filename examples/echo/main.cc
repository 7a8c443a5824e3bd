// Echo: the smallest server and client.
//
//   godwitd --create-dc demo &
//   example_echo server &
//   example_echo client "hello, godwit"
//
// The client names the endpoint, never the node: start the server on any node of the DC.
#include <chrono>
#include <cstdio>
#include <iostream>
#include <string_view>

#include "../common/check.h"
#include "../common/stop_on_signal.h"
#include "godwit/godwit.h"

using namespace std::chrono_literals;

namespace {

int serve(std::stop_token stop) {
  auto process = check(godwit::Process::attach(), "attach");
  auto echo = check(process->bind("demo/echo"), "bind");
  std::printf("serving demo/echo on node %s\n", process->node().c_str());
  std::fflush(stdout);

  // The payload of the request may lie in the client's memory; reply() takes the request along and
  // lets go of it when the reply is on its way.
  while (auto request = echo.receive_request(stop)) {
    const godwit::Bytes payload = request->payload();
    check(echo.reply(std::move(*request), payload), "reply");
  }
  return 0;  // stopped by a signal; the destructors unbind the name
}

int ask(std::string_view text) {
  auto process = check(godwit::Process::attach(), "attach");
  auto me = check(process->bind_anonymous("demo"), "bind");

  // Wait for a server to come up, then call it. Every wait has a deadline.
  const auto echo = check(me.wait_bound("demo/echo", 5s), "no echo server");
  const auto reply = check(me.call(echo, godwit::bytes_of(text), 1s), "call");
  std::cout << reply.text() << '\n';
  return reply.text() == text ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view role = argc > 1 ? argv[1] : "";
  if (role == "server") {
    StopOnSignal stop;
    return serve(stop.token());
  }
  if (role == "client" && argc == 3) return ask(argv[2]);
  std::fprintf(stderr, "usage: %s server | client TEXT\n", argv[0]);
  return 2;
}
