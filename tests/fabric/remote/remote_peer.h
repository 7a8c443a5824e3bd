// RemotePeer: a test's handle of the other process (session.h says what can be asked of it).
// Used on the test's thread.
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "fabric/remote/line_socket.h"
#include "fabric/remote/series.h"

namespace godwit::fabric::testing {

inline constexpr std::chrono::milliseconds kLimit{30'000};

class RemotePeer {
 public:
  /// A process started here, or by the server that GODWIT_FABRIC_PEER names.
  static Result<std::unique_ptr<RemotePeer>> start();
  ~RemotePeer();
  RemotePeer(const RemotePeer&) = delete;
  RemotePeer& operator=(const RemotePeer&) = delete;

  /// By which the peer's machine reaches this one.
  std::string own_host() const { return control_.own_host(); }

  /// What it answers behind `ok`, while `engines` are stepped; or what it says failed, or that it
  /// is gone (connection_lost).
  template <typename... Engines>
  Result<std::string> ask(const std::string& command, Engines&... engines) {
    control_.send(command);
    const auto end = std::chrono::steady_clock::now() + kLimit;
    while (true) {
      if (const auto line = control_.take()) return understand(command, *line);
      if (control_.ended()) return fail(Errc::connection_lost, command + ": the peer is gone");
      if (std::chrono::steady_clock::now() > end) {
        return fail(Errc::deadline_exceeded, command + ": no answer");
      }
      if constexpr (sizeof...(engines) == 0) {
        control_.wait(100);
      } else {
        (engines.step(), ...);
      }
    }
  }

  /// The same of a command whose failure is the test's; empty then.
  template <typename... Engines>
  Words tell(const std::string& command, Engines&... engines) {
    const auto answer = ask(command, engines...);
    EXPECT_TRUE(answer.has_value()) << command << ": " << answer.error().to_string();
    return answer ? words_of(*answer) : Words{};
  }

  /// Asks again and again until `accept(numbers)`; false when the time is over or it fails.
  template <typename Accept, typename... Engines>
  bool until(const std::string& question, Accept accept, Engines&... engines) {
    const auto end = std::chrono::steady_clock::now() + kLimit;
    while (std::chrono::steady_clock::now() < end) {
      const std::vector<std::uint64_t> numbers = count(question, engines...);
      if (numbers.empty()) return false;
      if (accept(numbers)) return true;
      rest(engines...);
    }
    ADD_FAILURE() << question << ": not as it should be, at last "
                  << ask(question, engines...).value_or("nothing");
    return false;
  }

  /// An answer that is numbers alone; empty if it is not.
  template <typename... Engines>
  std::vector<std::uint64_t> count(const std::string& question, Engines&... engines) {
    return numbers_of(tell(question, engines...));
  }

  template <typename... Engines>
  Series received(std::size_t link, Engines&... engines) {
    return series_of(count("received " + std::to_string(link), engines...));
  }
  /// Until so many frames arrived over the link.
  template <typename... Engines>
  bool has_received(std::size_t link, std::uint64_t frames, Engines&... engines) {
    return until(
        "received " + std::to_string(link), [&](const auto& now) { return now[0] >= frames; },
        engines...);
  }

  /// SIGKILL; it does not come back.
  void kill();
  /// Ends it in peace; a failure of the test if it does not end well.
  void finish();

 private:
  RemotePeer(int control, int process) : control_(control), process_(process) {}

  static Result<std::string> understand(const std::string& command, const std::string& line);
  static std::vector<std::uint64_t> numbers_of(const Words& words);
  static Series series_of(const std::vector<std::uint64_t>& numbers);

  /// Between two questions.
  template <typename... Engines>
  void rest(Engines&... engines) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(2);
    do {
      if constexpr (sizeof...(engines) == 0) {
        control_.wait(2);
      } else {
        (engines.step(), ...);
      }
    } while (std::chrono::steady_clock::now() < end);
  }

  LineSocket control_;
  int process_;  // -1: on another machine, or over
  bool killed_ = false;
};

}  // namespace godwit::fabric::testing
