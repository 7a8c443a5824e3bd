// OneProcess: what fixtures have whose endpoints are all in one process, on a directory within it.
// demo/me is the test's thread's.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <memory>
#include <utility>

#include "endpoints/forwarding_resolver.h"
#include "godwit/godwit.h"

namespace godwit {

class OneProcess {
 protected:
  static constexpr auto kLong = std::chrono::seconds(60);  // only reached when something is broken

  void start_process(const ProcessOptions& options, std::unique_ptr<Resolver> resolver) {
    auto process = Process::with_resolver(std::move(resolver), options);
    ASSERT_TRUE(process) << process.error().to_string();
    process_ = std::move(*process);
    auto me = process_->bind("demo/me");
    ASSERT_TRUE(me) << me.error().to_string();
    me_ = std::move(*me);
  }
  /// Before the memory that a test has granted is gone.
  void stop_process() {
    me_ = Endpoint();
    process_.reset();
  }

  /// Moves messages until `done()`, which another thread or a copy may bring about: neither wakes
  /// an engine that sleeps.
  bool reaches(const std::function<bool()>& done, std::chrono::seconds limit = kLong) {
    const auto end = std::chrono::steady_clock::now() + limit;
    while (!process_->run_until(done, std::chrono::milliseconds(2))) {
      if (std::chrono::steady_clock::now() > end) return false;
    }
    return true;
  }

  std::shared_ptr<EmbeddedDirectory> directory_ = EmbeddedDirectory::create().value();
  std::unique_ptr<Process> process_;
  Endpoint me_;
};

}  // namespace godwit
