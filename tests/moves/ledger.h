// Ledger: what was executed in one life of the bank, on a file that all of its processes map. It
// stays when a process is killed, and it does not move: so it shows what no process knows alone, an
// operation that two of them executed, or one that was executed though its client was told that it
// was not.
//
// Any process, any thread: every change is one atomic operation.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "godwit/error.h"

namespace moves {

inline constexpr std::uint32_t kMaxClients = 1024;

class Ledger {
 public:
  struct Account {
    std::uint32_t last = 0;      // the highest number that was executed
    std::uint32_t executed = 0;  // how many were
  };

  /// Opens the ledger of a life, and makes it if it is new. Errors: system.
  static godwit::Result<std::unique_ptr<Ledger>> open(const std::string& folder,
                                                      std::uint64_t life);
  ~Ledger();
  Ledger(const Ledger&) = delete;
  Ledger& operator=(const Ledger&) = delete;

  /// `tenure`: how often the bank had moved when this copy of it began to serve. A copy that
  /// executes after a later one has is a second owner.
  void execute(std::uint32_t client, std::uint64_t number, std::uint64_t tenure,
               bool sound) noexcept;

  Account account(std::uint32_t client) const noexcept;
  /// Operations that the bank found to be out of order.
  std::uint64_t unsound() const noexcept;
  /// Operations that an old copy executed.
  std::uint64_t outdated() const noexcept;
  std::uint64_t life() const noexcept { return life_; }

  /// The lives that have a ledger in the folder.
  static std::vector<std::uint64_t> lives(const std::string& folder);

 private:
  struct Page;
  Ledger(Page* page, std::uint64_t life) : page_(page), life_(life) {}
  Page* const page_;
  const std::uint64_t life_;
};

}  // namespace moves
