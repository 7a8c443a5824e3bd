#include "grants.h"

#include <algorithm>

namespace audit {

namespace {

using namespace std::chrono_literals;
using godwit::Errc;

constexpr std::size_t kLand = 256 << 10;
constexpr std::byte kFallow{0xa5};
constexpr auto kCopyLimit = 30s;  // only reached when something is broken

void fill(std::span<std::byte> bytes, std::uint64_t stamp) {
  for (std::size_t i = 0; i < bytes.size(); ++i)
    bytes[i] = static_cast<std::byte>(i * 13 + (i >> 8) * 5 + stamp * 167);
}

}  // namespace

void GrantAudit::give(godwit::Endpoint& me, godwit::EndpointId peer, Land& land) {
  auto made = me.grant(std::span(land.memory), {godwit::Rights::read_write, peer});
  if (!made) return complain_("grant: " + made.error().to_string());
  land.grant = *made;
  land.granted = true;
  land.next = Clock::now() + std::chrono::milliseconds(200 + pick(800));
}

GrantAudit::Offer GrantAudit::offer_to(godwit::Endpoint& me, godwit::EndpointId peer) {
  auto& land = lands_[peer];
  if (land == nullptr) {
    land = std::make_unique<Land>();
    land->memory.resize(kLand);
    give(me, peer, *land);
  }
  return land->granted && !land->leaving ? land->grant.to_bytes() : Offer{};
}

void GrantAudit::take_back(godwit::Endpoint& me, Land& land) {
  land.leaving = true;
  auto revoked = me.revoke(land.grant, 5ms);
  if (!revoked) {
    // Somebody is in the middle of a copy that nothing can end but itself: again at the next turn.
    if (revoked.error().code != Errc::deadline_exceeded)
      complain_("revoke: " + revoked.error().to_string());
    return;
  }
  ++taken_back_;
  land.granted = land.leaving = false;
  std::fill(land.memory.begin(), land.memory.end(), kFallow);
  land.next = Clock::now() + 50ms;
}

void GrantAudit::tend(godwit::Endpoint& me) {
  const auto now = Clock::now();
  for (auto& [peer, land] : lands_) {
    if (now < land->next) continue;
    if (land->granted) {
      take_back(me, *land);
      continue;
    }
    if (std::count(land->memory.begin(), land->memory.end(), kFallow) !=
        static_cast<std::ptrdiff_t>(kLand)) {
      complain_("something landed in memory that was taken back");
    }
    give(me, peer, *land);
  }
}

void GrantAudit::on_offer(unsigned worker, std::span<const std::byte> offer) {
  auto ref = godwit::GrantRef::from_bytes(offer);
  if (!ref || ref->key == 0) return;  // it has none for us now
  Plot& plot = plots_[worker];
  if (plot.grant.key == ref->key) return;
  plot.grant = *ref;
  plot.contents.resize(ref->length);
  plot.known = false;
}

void GrantAudit::copy(godwit::Endpoint& me, unsigned worker) {
  const auto found = plots_.find(worker);
  if (found == plots_.end()) return;
  // A copy waits, and meanwhile replies come that may tell of another grant.
  Plot plot = found->second;
  const std::uint64_t whole = plot.contents.size();
  const bool writes = !plot.known || pick(2) == 0;
  // Small ones, which are streamed, and large ones.
  std::uint64_t size = 1 + pick(pick(3) == 0 ? 8'000 : whole);
  std::uint64_t offset = pick(whole - size + 1);
  if (!plot.known) offset = 0, size = whole;
  std::vector<std::byte> bytes(size);
  if (writes) fill(bytes, ++stamp_);
  const auto done = writes ? me.copy_to(plot.grant, offset, bytes, kCopyLimit)
                           : me.copy_from(plot.grant, offset, bytes, kCopyLimit);
  Plot* now = nullptr;
  if (const auto still = plots_.find(worker);
      still != plots_.end() && still->second.grant.key == plot.grant.key)
    now = &still->second;
  if (!done) {
    if (now != nullptr) plots_.erase(worker);  // until it tells of another
    const Errc code = done.error().code;
    if (code != Errc::not_found && code != Errc::endpoint_died)
      complain_("copy: " + done.error().to_string());
    return;
  }
  ++copies_;
  const auto at = plot.contents.begin() + static_cast<std::ptrdiff_t>(offset);
  if (!writes) {
    if (!std::equal(bytes.begin(), bytes.end(), at))
      complain_("a copy has read other bytes than were written there");
    return;
  }
  if (now == nullptr) return;
  std::copy(bytes.begin(), bytes.end(),
            now->contents.begin() + static_cast<std::ptrdiff_t>(offset));
  now->known = true;
}

}  // namespace audit
