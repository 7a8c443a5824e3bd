// PlaceCache: what this process knows of other endpoints, kept true by the agent's pushes.
//
// Owner: the AgentLink. cached() from any thread, without a system call when nobody writes at that
// moment; everything else on the link's thread. Endpoints that are gone are not kept.
#pragma once

#include <functional>
#include <memory>
#include <shared_mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "godwit/resolver.h"

namespace godwit::agent_link {

class PlaceCache {
 public:
  std::shared_ptr<const EndpointPlace> cached(std::string_view full_name) const;

  /// An answer to resolve.
  void resolved(const std::string& full_name, const EndpointPlace& place);
  /// An answer to locate.
  void located(const EndpointPlace& place);
  /// The name has no living owner.
  void forget(const std::string& full_name);
  /// A push. False: it is older than what is known and must be ignored.
  bool changed(const EndpointPlace& place);

  /// All that is known, for the subscription at a new agent.
  std::vector<std::shared_ptr<const EndpointPlace>> all() const;

 private:
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view name) const noexcept {
      return std::hash<std::string_view>{}(name);
    }
  };
  using Place = std::shared_ptr<const EndpointPlace>;

  mutable std::shared_mutex mutex_;
  std::unordered_map<std::string, Place, Hash, std::equal_to<>> names_;
  // Those known by their id alone: anonymous, or asked for by locate. Link's thread only.
  std::unordered_map<EndpointId, Place, EndpointIdHash> ids_;
};

}  // namespace godwit::agent_link
