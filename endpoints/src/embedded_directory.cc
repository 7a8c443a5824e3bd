#include "embedded_directory.h"

#include <sodium.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

namespace godwit {

Result<std::unique_ptr<EmbeddedDirectory>> EmbeddedDirectory::create() {
  if (sodium_init() < 0) return fail(Errc::system, "libsodium cannot start");
  const char* base = std::getenv("TMPDIR");
  std::string runtime =
      std::string(base != nullptr && *base != '\0' ? base : "/tmp") + "/godwit-XXXXXX";
  if (mkdtemp(runtime.data()) == nullptr)
    return fail_errno("cannot make a directory for sockets at " + runtime);
  return std::unique_ptr<EmbeddedDirectory>(new EmbeddedDirectory(std::move(runtime)));
}

EmbeddedDirectory::EmbeddedDirectory(std::string runtime) : runtime_(std::move(runtime)) {
  randombytes_buf(&process_, sizeof process_);
  randombytes_buf(key_.data(), key_.size());
}

EmbeddedDirectory::~EmbeddedDirectory() {
  std::error_code ignored;  // an engine's socket may be gone already; nothing else is in there
  std::filesystem::remove_all(runtime_, ignored);
}

void EmbeddedDirectory::set_listener(Listener* listener) {
  const std::lock_guard lock(mutex_);
  listener_ = listener;
}

std::uint32_t EmbeddedDirectory::dc_locked(const std::string& dc) {
  return dcs_.try_emplace(dc, static_cast<std::uint32_t>(dcs_.size() + 1)).first->second;
}

Result<EndpointPlace> EmbeddedDirectory::bind_locked(const BindRequest& request,
                                                     std::vector<Waiter>& woken) {
  const std::string full = request.name.empty() ? std::string() : request.dc + "/" + request.name;
  if (!full.empty() && names_.count(full) != 0) {
    return fail(Errc::name_taken, "another endpoint of this process has the name", full);
  }
  auto place = std::make_shared<EndpointPlace>();
  place->id = EndpointId{dc_locked(request.dc), next_slot_++, 1};
  place->name = full;
  randombytes_buf(&place->lineage, sizeof place->lineage);
  place->epoch = 1;
  place->node = node();
  place->process = process_;
  place->engine_address = request.engine_address;
  places_[place->id] = place;
  if (!full.empty()) {
    names_[full] = place;
    woken = take_waiters(full, true);
  }
  return *place;
}

std::vector<EmbeddedDirectory::Waiter> EmbeddedDirectory::take_waiters(const std::string& name,
                                                                       bool bound) {
  std::vector<Waiter> woken;
  for (auto at = waiters_.begin(); at != waiters_.end();) {
    if (at->name == name && static_cast<bool>(at->bound) == bound) {
      woken.push_back(std::move(*at));
      at = waiters_.erase(at);
    } else {
      ++at;
    }
  }
  return woken;
}

void EmbeddedDirectory::bind(const BindRequest& request, Done<EndpointPlace> done) {
  std::vector<Waiter> woken;
  auto place = [&] {
    const std::lock_guard lock(mutex_);
    return bind_locked(request, woken);
  }();
  for (Waiter& waiter : woken) waiter.bound(*place);
  done(std::move(place));
}

void EmbeddedDirectory::bind_many(const std::vector<BindRequest>& requests,
                                  Done<std::vector<Result<EndpointPlace>>> done) {
  std::vector<Result<EndpointPlace>> places;
  places.reserve(requests.size());
  for (const BindRequest& request : requests) {
    bind(request, [&](Result<EndpointPlace> place) { places.push_back(std::move(place)); });
  }
  done(std::move(places));
}

void EmbeddedDirectory::unbind(EndpointId id, Done<void> done) {
  std::vector<Waiter> woken;
  {
    const std::lock_guard lock(mutex_);
    const auto known = places_.find(id);
    if (known == places_.end()) {
      woken.clear();
    } else {
      if (!known->second->name.empty()) {
        names_.erase(known->second->name);
        woken = take_waiters(known->second->name, false);
      }
      // Others may be reading the place that they were given.
      EndpointPlace gone = *known->second;
      gone.state = EndpointState::unbound;
      places_.erase(known);
      if (listener_ != nullptr) listener_->on_endpoint_changed(gone);
    }
  }
  for (Waiter& waiter : woken) waiter.unbound({});
  done({});
}

void EmbeddedDirectory::moved(EndpointId id, std::uint32_t epoch,
                              const std::string& engine_address) {
  const std::lock_guard lock(mutex_);
  const auto known = places_.find(id);
  if (known == places_.end()) return;
  auto place = std::make_shared<EndpointPlace>(*known->second);
  place->epoch = epoch;
  place->engine_address = engine_address;
  known->second = place;
  if (!place->name.empty()) names_[place->name] = place;
  if (listener_ != nullptr) listener_->on_endpoint_changed(*place);
}

std::shared_ptr<const EndpointPlace> EmbeddedDirectory::cached(std::string_view full_name) {
  const std::lock_guard lock(mutex_);
  const auto known = names_.find(full_name);
  return known == names_.end() ? nullptr : known->second;
}

void EmbeddedDirectory::resolve(std::string_view full_name, Done<EndpointPlace> done) {
  if (auto place = cached(full_name)) {
    done(*place);
  } else {
    done(fail(Errc::not_found, "nothing is bound to it", std::string(full_name)));
  }
}

void EmbeddedDirectory::locate(EndpointId id, Done<EndpointPlace> done) {
  std::shared_ptr<EndpointPlace> place;
  {
    const std::lock_guard lock(mutex_);
    if (const auto known = places_.find(id); known != places_.end()) place = known->second;
  }
  if (place != nullptr) {
    done(*place);
  } else {
    done(fail(Errc::not_found, "the endpoint is gone", id.to_string()));
  }
}

Resolver::Ticket EmbeddedDirectory::wait_bound(std::string_view full_name,
                                               Done<EndpointPlace> done) {
  std::shared_ptr<EndpointPlace> place;
  Ticket ticket;
  {
    const std::lock_guard lock(mutex_);
    ticket = next_ticket_++;
    const auto known = names_.find(full_name);
    if (known == names_.end()) {
      waiters_.push_back({ticket, std::string(full_name), std::move(done), {}});
      return ticket;
    }
    place = known->second;
  }
  done(*place);
  return ticket;
}

Resolver::Ticket EmbeddedDirectory::wait_unbound(std::string_view full_name, Done<void> done) {
  Ticket ticket;
  {
    const std::lock_guard lock(mutex_);
    ticket = next_ticket_++;
    if (names_.find(full_name) != names_.end()) {
      waiters_.push_back({ticket, std::string(full_name), {}, std::move(done)});
      return ticket;
    }
  }
  done({});
  return ticket;
}

void EmbeddedDirectory::cancel(Ticket ticket) {
  std::vector<Waiter> ended;
  {
    const std::lock_guard lock(mutex_);
    for (auto at = waiters_.begin(); at != waiters_.end(); ++at) {
      if (at->ticket != ticket) continue;
      ended.push_back(std::move(*at));
      waiters_.erase(at);
      break;
    }
  }
  for (Waiter& waiter : ended) {
    if (waiter.bound) waiter.bound(fail(Errc::cancelled));
    if (waiter.unbound) waiter.unbound(fail(Errc::cancelled));
  }
}

void EmbeddedDirectory::find_dc(std::string_view dc, Done<std::uint32_t> done) {
  std::uint32_t id;
  {
    const std::lock_guard lock(mutex_);
    id = dc_locked(std::string(dc));
  }
  done(id);
}

std::optional<fabric::DcKey> EmbeddedDirectory::key(std::uint32_t) const {
  return key_;
}

}  // namespace godwit
