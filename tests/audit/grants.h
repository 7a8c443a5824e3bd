// One worker's part in the audit of grants: as an owner, memory for each peer that is granted,
// taken back, watched while nobody may touch it, and granted again; as a user, copies against what
// peers have granted, each compared with what this worker itself wrote there before.
//
// Used by the worker's thread. The memory of a land is its peer's alone, so its contents are known.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "godwit/godwit.h"

namespace audit {

class GrantAudit {
 public:
  using Offer = std::array<std::byte, godwit::GrantRef::kBytes>;

  GrantAudit(std::uint64_t seed, std::function<void(const std::string&)> complain)
      : random_(seed), complain_(std::move(complain)) {}

  /// The owner's side. What a reply to that peer tells: its grant, or zeros while it has none.
  Offer offer_to(godwit::Endpoint& me, godwit::EndpointId peer);
  /// Takes a land back now and then, and looks after those that are.
  void tend(godwit::Endpoint& me);

  /// The user's side. A peer's reply has told of a grant.
  void on_offer(unsigned worker, std::span<const std::byte> offer);
  void forget(unsigned worker) { plots_.erase(worker); }
  /// One copy against that peer's grant, if it has given one.
  void copy(godwit::Endpoint& me, unsigned worker);

  std::uint64_t copies() const { return copies_; }
  std::uint64_t taken_back() const { return taken_back_; }

 private:
  using Clock = std::chrono::steady_clock;

  struct Land {
    std::vector<std::byte> memory;
    godwit::GrantRef grant;
    bool granted = false, leaving = false;
    Clock::time_point next{};  // when it is taken back, or granted again
  };
  struct Plot {
    godwit::GrantRef grant;
    std::vector<std::byte> contents;
    bool known = false;
  };

  void give(godwit::Endpoint& me, godwit::EndpointId peer, Land& land);
  void take_back(godwit::Endpoint& me, Land& land);
  std::uint64_t pick(std::uint64_t below) { return random_() % below; }

  std::mt19937_64 random_;
  std::function<void(const std::string&)> complain_;
  std::map<godwit::EndpointId, std::unique_ptr<Land>> lands_;
  std::map<unsigned, Plot> plots_;
  std::uint64_t copies_ = 0, taken_back_ = 0, stamp_ = 0;
};

}  // namespace audit
