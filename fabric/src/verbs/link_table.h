// LinkTable: finds a link by a number that no other link ever had, or nearly so.
//
// Work requests and messages name their link by 32 bits, index and generation. What comes late,
// from a link that is gone, fits no generation and is dropped. A place is used again as late as
// possible; a number comes again after 65,535 uses of its place. Pure; engine's thread only.
#pragma once

#include <cstdint>
#include <deque>
#include <vector>

namespace godwit::fabric::verbs {

using LinkId = std::uint32_t;

template <typename Link>
class LinkTable {
 public:
  static constexpr std::size_t kMax = 1u << 16;

  /// 0: the table is full.
  LinkId add(Link& link) {
    std::uint32_t index = 0;
    if (places_.size() < kSpread || (free_.empty() && places_.size() < kMax)) {
      index = static_cast<std::uint32_t>(places_.size());
      places_.emplace_back();
    } else if (!free_.empty()) {
      index = free_.front();
      free_.pop_front();
    } else {
      return 0;
    }
    Place& place = places_[index];
    if (++place.generation == 0) place.generation = 1;
    place.link = &link;
    ++size_;
    return LinkId{place.generation} << 16 | index;
  }

  void remove(LinkId id) noexcept {
    if (find(id) == nullptr) return;
    places_[id & 0xffff].link = nullptr;
    free_.push_back(id & 0xffff);
    --size_;
  }

  Link* find(LinkId id) const noexcept {
    const std::uint32_t index = id & 0xffff;
    if (index >= places_.size()) return nullptr;
    const Place& place = places_[index];
    return place.generation == id >> 16 ? place.link : nullptr;
  }

  std::size_t size() const noexcept { return size_; }

  template <typename Function>
  void for_each(Function function) {
    for (std::size_t i = 0; i < places_.size(); ++i) {
      if (places_[i].link != nullptr) function(*places_[i].link);
    }
  }

 private:
  static constexpr std::size_t kSpread = 64;  // places that are made before one is used again

  struct Place {
    Link* link = nullptr;
    std::uint16_t generation = 0;
  };

  std::vector<Place> places_;
  std::deque<std::uint32_t> free_;
  std::size_t size_ = 0;
};

/// The number of a work request: its link, and its place in the order of that link's requests.
constexpr std::uint64_t work_id(LinkId link, std::uint32_t sequence) noexcept {
  return std::uint64_t{link} << 32 | sequence;
}
constexpr LinkId link_of(std::uint64_t work) noexcept {
  return static_cast<LinkId>(work >> 32);
}
constexpr std::uint32_t sequence_of(std::uint64_t work) noexcept {
  return static_cast<std::uint32_t>(work);
}

}  // namespace godwit::fabric::verbs
