#include "agent_link/place_cache.h"

#include <mutex>
#include <utility>

namespace godwit::agent_link {

std::shared_ptr<const EndpointPlace> PlaceCache::cached(std::string_view full_name) const {
  std::shared_lock lock(mutex_);
  const auto found = names_.find(full_name);
  return found == names_.end() ? nullptr : found->second;
}

void PlaceCache::resolved(const std::string& full_name, const EndpointPlace& place) {
  auto copy = std::make_shared<const EndpointPlace>(place);
  std::unique_lock lock(mutex_);
  names_.insert_or_assign(full_name, std::move(copy));
}

void PlaceCache::located(const EndpointPlace& place) {
  if (place.gone()) {
    changed(place);
    return;
  }
  changed(place);
  ids_.insert_or_assign(place.id, std::make_shared<const EndpointPlace>(place));
}

void PlaceCache::forget(const std::string& full_name) {
  std::unique_lock lock(mutex_);
  names_.erase(full_name);
}

bool PlaceCache::changed(const EndpointPlace& place) {
  const auto is_older = [&](const Place& known) {
    return known->id == place.id && place.epoch < known->epoch && !place.gone();
  };
  if (const auto known = ids_.find(place.id); known != ids_.end()) {
    if (is_older(known->second)) return false;
    if (place.gone()) {
      ids_.erase(known);
    } else {
      known->second = std::make_shared<const EndpointPlace>(place);
    }
  }
  if (place.name.empty()) return true;
  std::unique_lock lock(mutex_);
  const auto known = names_.find(place.name);
  if (known == names_.end()) return true;
  if (is_older(known->second)) return false;
  if (!place.gone()) {
    known->second = std::make_shared<const EndpointPlace>(place);
  } else if (known->second->id == place.id) {
    names_.erase(known);
  }
  return true;
}

std::vector<std::shared_ptr<const EndpointPlace>> PlaceCache::all() const {
  std::shared_lock lock(mutex_);
  std::vector<Place> places;
  places.reserve(names_.size() + ids_.size());
  for (const auto& [name, place] : names_) places.push_back(place);
  for (const auto& [id, place] : ids_) places.push_back(place);
  return places;
}

}  // namespace godwit::agent_link
