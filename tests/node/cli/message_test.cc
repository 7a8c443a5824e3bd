// godwit call, send, notify, wait, receive, echo between real processes.
#include <gtest/gtest.h>
#include <signal.h>

#include <fstream>
#include <sstream>
#include <string>

#include "node/cli/cli_process.h"

namespace godwit::node::cli::test {
namespace {

class CliMessage : public testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(node_.ready()); }
  CliNode node_;
};

TEST_F(CliMessage, CallPrintsTheReplyAsItIs) {
  const auto echo = node_.bound({"echo", "demo/echo"});
  EXPECT_EQ(node_.godwit({"call", "demo/echo", "hello"}).output, "hello");
  EXPECT_EQ(node_.godwit({"call", "demo/echo"}).output, "");
  EXPECT_EQ(node_.godwit({"call", "demo/echo", "-"}, "from stdin\n").output, "from stdin\n");
  EXPECT_EQ(node_.godwit({"call", "demo/echo", "--hex", "00 ff"}).output, std::string("\0\xff", 2));
  EXPECT_EQ(node_.godwit({"call", "demo/echo", "--", "--dashes"}).output, "--dashes");

  // Larger than what is copied into a frame.
  std::string large(1 << 20, 'x');
  for (std::size_t i = 0; i < large.size(); i += 4096) large[i] = static_cast<char>(i >> 12);
  const std::string file = node_.folder() + "/large";
  std::ofstream(file, std::ios::binary) << large;
  for (const char* transport : {"shm", "tcp"}) {
    const Said said = node_.godwit({"call", "demo/echo", "--file", file, "--transport", transport});
    EXPECT_EQ(said.status, 0) << said.errors;
    EXPECT_TRUE(said.output == large) << transport;
    const auto document =
        node_.godwit({"call", "demo/echo", "h\xc3\xa9", "--json", "--transport", transport}).json();
    EXPECT_EQ(document["name"], "demo/echo");
    EXPECT_EQ(document["transport"], transport);
    EXPECT_EQ(document["reply"]["text"], "h\xc3\xa9");
    EXPECT_EQ(document["reply"]["hex"], "68c3a9");
    EXPECT_GT(document["ms"].get<double>(), 0);
  }
  echo->signal(SIGTERM);
  EXPECT_EQ(echo->wait(), 0) << echo->errors();
}

TEST_F(CliMessage, ErrorsOfCalls) {
  const Said unknown = node_.godwit({"call", "demo/nobody", "x"});
  EXPECT_EQ(unknown.status, 1);
  EXPECT_TRUE(unknown.errors.starts_with("godwit: not_found: demo/nobody: ")) << unknown.errors;
  EXPECT_NE(unknown.errors.find("\nhint: "), std::string::npos);
  EXPECT_EQ(unknown.output, "");

  const Said no_dc = node_.godwit({"call", "nosuch/echo", "x"});
  EXPECT_EQ(no_dc.status, 1);
  EXPECT_TRUE(no_dc.errors.starts_with("godwit: not_found: ")) << no_dc.errors;

  const Said no_file = node_.godwit({"call", "demo/nobody", "--file", "/nonexistent"});
  EXPECT_EQ(no_file.status, 1);
  EXPECT_NE(no_file.errors.find("/nonexistent"), std::string::npos) << no_file.errors;

  for (const char* digits : {"abc", "xy"}) {
    const Said no_hex = node_.godwit({"call", "demo/nobody", "--hex", digits});
    EXPECT_EQ(no_hex.status, 1);
    EXPECT_TRUE(no_hex.errors.starts_with("godwit: invalid_argument: ")) << no_hex.errors;
  }

  const std::string file = node_.folder() + "/huge";
  std::ofstream(file) << std::string((16 << 20) + 1, 'x');
  const Said huge = node_.godwit({"call", "demo/nobody", "--file", file});
  EXPECT_EQ(huge.status, 1);
  EXPECT_TRUE(huge.errors.starts_with("godwit: too_large: ")) << huge.errors;

  // A server that is stopped does not answer, and nobody can say what it did.
  const auto echo = node_.bound({"echo", "demo/echo"});
  ASSERT_EQ(node_.godwit({"call", "demo/echo", "x"}).status, 0);
  echo->stop();
  const Said late = node_.godwit({"call", "demo/echo", "x", "--timeout", "300ms"});
  EXPECT_EQ(late.status, 1);
  EXPECT_TRUE(late.errors.starts_with("godwit: deadline_exceeded: ")) << late.errors;
  echo->signal(SIGCONT);

  // A server that dies while it is called.
  const auto call = node_.start({"ping", "demo/echo", "--interval", "10ms"});
  ASSERT_TRUE(call->wait_for_output("seq=2"));
  echo->signal(SIGKILL);
  EXPECT_EQ(call->wait(), 1);
  EXPECT_NE(call->errors().find("godwit: endpoint_died: "), std::string::npos) << call->errors();
}

TEST_F(CliMessage, ANameCanBeBoundOnce) {
  const auto echo = node_.bound({"echo", "demo/echo"});
  for (const char* command : {"echo", "receive"}) {
    const Said second = node_.godwit({command, "demo/echo"});
    EXPECT_EQ(second.status, 1);
    EXPECT_TRUE(second.errors.starts_with("godwit: name_taken: ")) << second.errors;
  }
}

TEST_F(CliMessage, NamesWithOddCharacters) {
  const std::string name = "demo/\xc3\xa9 *$'\"\\/../x";
  const auto echo = node_.bound({"echo", name});
  EXPECT_EQ(node_.godwit({"call", name, "odd"}).output, "odd");
  EXPECT_EQ(node_.godwit({"ls", "--json"}).json()["endpoints"][0]["name"], name);
}

TEST_F(CliMessage, ReceivePrintsWhatArrives) {
  const auto receiver = node_.bound({"receive", "demo/log", "--count", "4", "--reply", "fine"});
  EXPECT_EQ(node_.godwit({"send", "demo/log", "one\ntwo"}).status, 0);
  EXPECT_EQ(node_.godwit({"send", "demo/log", "met", "--rendezvous"}).status, 0);
  EXPECT_EQ(node_.godwit({"call", "demo/log", "asked"}).output, "fine");
  EXPECT_EQ(node_.godwit({"notify", "demo/log", "0x8001"}).status, 0);
  EXPECT_EQ(receiver->wait(), 0) << receiver->errors();
  EXPECT_NE(receiver->output().find("message from "), std::string::npos);
  for (const char* line :
       {": one\\x0atwo\n", ": met\n", ": asked\n", ": 0x8001\n", "notification from "})
    EXPECT_NE(receiver->output().find(line), std::string::npos) << line << receiver->output();
}

TEST_F(CliMessage, ReceiveInJsonAndRaw) {
  auto receiver = node_.bound({"receive", "demo/log", "--count", "2", "--json"});
  const Said sent = node_.godwit({"send", "demo/log", "a", "--json"});
  EXPECT_EQ(sent.json()["size"], 1);
  const Said notified = node_.godwit({"notify", "demo/log", "5", "--json"});
  EXPECT_EQ(notified.json()["bits"], 5);
  EXPECT_EQ(receiver->wait(), 0);
  std::istringstream lines(receiver->output());
  std::string line;
  ASSERT_TRUE(std::getline(lines, line));
  EXPECT_EQ(nlohmann::json::parse(line)["payload"]["text"], "a");
  ASSERT_TRUE(std::getline(lines, line));
  EXPECT_EQ(nlohmann::json::parse(line)["bits"], 5);

  receiver = node_.bound({"receive", "demo/log", "--count", "1", "--raw"});
  EXPECT_EQ(node_.godwit({"send", "demo/log", "--hex", "0001ff"}).status, 0);
  EXPECT_EQ(receiver->wait(), 0);
  EXPECT_EQ(receiver->output(), std::string("\0\1\xff", 3));
}

// A sender that ends right after it sent: nothing may be lost on the way.
TEST_F(CliMessage, SendHandsOverBeforeItEnds) {
  std::string large(5 << 20, 'l');
  const std::string file = node_.folder() + "/large";
  std::ofstream(file) << large;
  for (const std::string transport : {"shm", "tcp"}) {
    const auto receiver = node_.bound({"receive", "demo/log", "--count", "6", "--raw"});
    std::string expected;
    for (int i = 0; i < 5; ++i) {
      const std::string text = "message " + std::to_string(i) + "\n";
      expected += text;
      ASSERT_EQ(node_.godwit({"send", "demo/log", text, "--transport", transport}).status, 0);
    }
    // The receiver writes more than its pipe takes, so it must be read before the sender may end.
    const auto sender = node_.start({"send", "demo/log", "--file", file, "--transport", transport});
    EXPECT_EQ(receiver->wait(), 0) << transport << receiver->errors();
    EXPECT_EQ(sender->wait(), 0) << transport << sender->errors();
    EXPECT_TRUE(receiver->output() == expected + large)
        << transport << ": " << receiver->output().size() << " bytes";
  }
}

// The receiver has what it wanted and ends: that must not look to the sender as if nothing was
// received. Over tcp the directory's news of the end may overtake the acknowledgement in the
// socket; the sender then cannot know, and says so.
TEST_F(CliMessage, AReceiverThatEndsHasReceived) {
  for (const std::string transport : {"shm", "tcp"}) {
    for (int i = 0; i < 5; ++i) {
      auto receiver = node_.bound({"receive", "demo/once", "--count", "1"});
      const Said sent = node_.godwit({"send", "demo/once", "x", "--transport", transport});
      EXPECT_EQ(sent.status, 0) << transport << sent.errors;
      EXPECT_EQ(receiver->wait(), 0);
      EXPECT_NE(receiver->output().find(": x\n"), std::string::npos) << receiver->output();
      receiver = node_.bound({"receive", "demo/once", "--count", "1"});
      const Said notified = node_.godwit({"notify", "demo/once", "1", "--transport", transport});
      EXPECT_EQ(notified.status, 0) << transport << notified.errors;
      EXPECT_EQ(receiver->wait(), 0);
    }
  }
}

TEST_F(CliMessage, SendSaysWhetherItArrived) {
  const auto server = node_.bound({"perf", "server", "demo/perf"});
  const Said received = node_.godwit({"send", "demo/perf", "x", "--json"});
  EXPECT_EQ(received.status, 0) << received.errors;
  EXPECT_EQ(received.json()["received"], true);
  server->stop();
  const Said stuck = node_.godwit({"send", "demo/perf", "x", "--timeout", "500ms"});
  EXPECT_EQ(stuck.status, 1);
  EXPECT_TRUE(stuck.errors.starts_with("godwit: deadline_exceeded: ")) << stuck.errors;
  server->signal(SIGCONT);
}

TEST_F(CliMessage, RendezvousWaitsForTheReceiver) {
  const auto receiver = node_.bound({"receive", "demo/log"});
  ASSERT_EQ(node_.godwit({"send", "demo/log", "x", "--rendezvous"}).status, 0);
  receiver->stop();
  const Said said = node_.godwit({"send", "demo/log", "x", "--rendezvous", "--timeout", "300ms"});
  EXPECT_EQ(said.status, 1);
  EXPECT_TRUE(said.errors.starts_with("godwit: deadline_exceeded: ")) << said.errors;
  receiver->signal(SIGCONT);
}

TEST_F(CliMessage, WaitForANameToComeAndGo) {
  const auto waiting = node_.start({"wait", "demo/late", "--timeout", "30s", "--json"});
  auto calling = node_.start({"call", "demo/late", "early", "--wait", "--timeout", "30s"});
  const Said impatient = node_.godwit({"wait", "demo/late", "--timeout", "50ms"});
  EXPECT_EQ(impatient.status, 1);
  EXPECT_TRUE(impatient.errors.starts_with("godwit: deadline_exceeded: ")) << impatient.errors;

  const auto echo = node_.bound({"echo", "demo/late"});
  EXPECT_EQ(waiting->wait(), 0) << waiting->errors();
  EXPECT_EQ(nlohmann::json::parse(waiting->output())["name"], "demo/late");
  EXPECT_EQ(calling->wait(), 0) << calling->errors();
  EXPECT_EQ(calling->output(), "early");

  const auto going = node_.start({"wait", "demo/late", "--unbound", "--timeout", "30s"});
  echo->signal(SIGINT);
  EXPECT_EQ(echo->wait(), 0) << echo->errors();
  EXPECT_EQ(going->wait(), 0) << going->errors();
}

TEST_F(CliMessage, EchoEndsAfterItsCount) {
  const auto echo = node_.bound({"echo", "demo/echo", "--count", "2", "--json"});
  EXPECT_EQ(node_.godwit({"call", "demo/echo", "1"}).output, "1");
  EXPECT_EQ(node_.godwit({"call", "demo/echo", "2"}).output, "2");
  EXPECT_EQ(echo->wait(), 0);
  EXPECT_EQ(nlohmann::json::parse(echo->output())["echoed"], 2);
}

}  // namespace
}  // namespace godwit::node::cli::test
