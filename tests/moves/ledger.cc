#include "ledger.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <filesystem>

namespace moves {

namespace {
constexpr const char* kPrefix = "ledger.";
}  // namespace

struct Ledger::Page {
  // The last number above, how many below: one word, so that a reader never sees one without the
  // other.
  std::atomic<std::uint64_t> accounts[kMaxClients];
  std::atomic<std::uint64_t> unsound;
  std::atomic<std::uint64_t> tenure;  // the latest
  std::atomic<std::uint64_t> outdated;
};
static_assert(std::atomic<std::uint64_t>::is_always_lock_free, "shared between processes");

godwit::Result<std::unique_ptr<Ledger>> Ledger::open(const std::string& folder,
                                                     std::uint64_t life) {
  char name[32];
  std::snprintf(name, sizeof name, "%s%016llx", kPrefix, static_cast<unsigned long long>(life));
  const std::string path = folder + "/" + name;
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) return godwit::fail_errno("cannot open " + path);
  void* page = MAP_FAILED;
  if (::ftruncate(fd, sizeof(Page)) == 0) {
    page = ::mmap(nullptr, sizeof(Page), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  }
  ::close(fd);
  if (page == MAP_FAILED) return godwit::fail_errno("cannot map " + path);
  return std::unique_ptr<Ledger>(new Ledger(static_cast<Page*>(page), life));
}

Ledger::~Ledger() {
  ::munmap(page_, sizeof(Page));
}

void Ledger::execute(std::uint32_t client, std::uint64_t number, std::uint64_t tenure,
                     bool sound) noexcept {
  if (!sound) page_->unsound.fetch_add(1);
  std::uint64_t latest = page_->tenure.load();
  while (latest < tenure && !page_->tenure.compare_exchange_weak(latest, tenure)) {
  }
  if (latest > tenure) page_->outdated.fetch_add(1);
  auto& account = page_->accounts[client];
  std::uint64_t now = account.load();
  std::uint64_t next;
  do {
    const std::uint64_t last = std::max(now >> 32, number);
    next = last << 32 | ((now & 0xffffffff) + 1);
  } while (!account.compare_exchange_weak(now, next));
}

Ledger::Account Ledger::account(std::uint32_t client) const noexcept {
  const std::uint64_t word = page_->accounts[client].load();
  return {static_cast<std::uint32_t>(word >> 32), static_cast<std::uint32_t>(word)};
}

std::uint64_t Ledger::unsound() const noexcept {
  return page_->unsound.load();
}

std::uint64_t Ledger::outdated() const noexcept {
  return page_->outdated.load();
}

std::vector<std::uint64_t> Ledger::lives(const std::string& folder) {
  std::vector<std::uint64_t> lives;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with(kPrefix)) continue;
    lives.push_back(std::strtoull(name.c_str() + std::string(kPrefix).size(), nullptr, 16));
  }
  return lives;
}

}  // namespace moves
