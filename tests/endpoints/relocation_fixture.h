// An endpoint that goes from thread to thread of one process, as it goes from process to process in
// a move: what its tests share.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <span>
#include <string>

#include "embedded_directory.h"
#include "godwit/godwit.h"
#include "godwit/relocation.h"

namespace godwit {

using namespace std::chrono_literals;
using fabric::TransportKind;

inline constexpr auto kLong = 20s;  // only reached when something is broken

inline std::uint64_t number_of(Bytes bytes) {
  std::uint64_t number = 0;
  if (bytes.size() >= sizeof number) std::memcpy(&number, bytes.data(), sizeof number);
  return number;
}
inline Bytes bytes_of_number(const std::uint64_t& number) {
  return std::as_bytes(std::span(&number, 1));
}

class RelocationTest : public ::testing::TestWithParam<TransportKind> {
 protected:
  void SetUp() override {
    ProcessOptions options;
    options.force_transport = GetParam();
    auto directory = EmbeddedDirectory::create();
    ASSERT_TRUE(directory) << directory.error().to_string();
    directory_ = directory->get();
    auto process = Process::with_resolver(std::move(*directory), options);
    ASSERT_TRUE(process) << process.error().to_string();
    process_ = std::move(*process);
  }

  /// The directory's word: the endpoint is at the calling thread now.
  void arrive(Endpoint& endpoint) {
    const std::uint32_t epoch = Relocation::epoch(endpoint) + 1;
    directory_->moved(endpoint.id(), epoch, *Relocation::engine_address(*process_));
    Relocation::open(endpoint, epoch);
  }

  /// Parks the endpoint once it is quiet; empty until then.
  static bool try_park(Endpoint& endpoint, std::string& image) {
    Relocation::shut(endpoint);
    if (!Relocation::busy(endpoint).empty()) return false;
    image = Relocation::park(endpoint);
    return true;
  }

  EmbeddedDirectory* directory_ = nullptr;
  std::unique_ptr<Process> process_;
};

}  // namespace godwit
