// EmbeddedDirectory: the Resolver of a process that stands alone. Every DC that is named exists.
//
// Owned by the Process; any thread. Callbacks run on the caller's thread, or on the thread whose
// bind or unbind ends a wait, never with the lock held.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "godwit/resolver.h"

namespace godwit {

class EmbeddedDirectory final : public Resolver {
 public:
  /// Makes a private directory for sockets under the system's temporary directory.
  static Result<std::unique_ptr<EmbeddedDirectory>> create();
  ~EmbeddedDirectory() override;

  void set_listener(Listener* listener) override;
  void bind(const BindRequest& request, Done<EndpointPlace> done) override;
  void bind_many(const std::vector<BindRequest>& requests,
                 Done<std::vector<Result<EndpointPlace>>> done) override;
  void unbind(EndpointId id, Done<void> done) override;
  std::shared_ptr<const EndpointPlace> cached(std::string_view full_name) override;
  void resolve(std::string_view full_name, Done<EndpointPlace> done) override;
  void locate(EndpointId id, Done<EndpointPlace> done) override;
  Ticket wait_bound(std::string_view full_name, Done<EndpointPlace> done) override;
  Ticket wait_unbound(std::string_view full_name, Done<void> done) override;
  void cancel(Ticket ticket) override;
  void find_dc(std::string_view dc, Done<std::uint32_t> done) override;
  std::optional<fabric::DcKey> key(std::uint32_t dc) const override;
  std::string node() const override { return "local"; }
  std::uint64_t process() const override { return process_; }
  std::string runtime_directory() const override { return runtime_; }
  std::string listen_host() const override { return "127.0.0.1"; }

  /// The endpoint serves on another thread of this process now.
  void moved(EndpointId id, std::uint32_t epoch, const std::string& engine_address);

 private:
  struct Waiter {
    Ticket ticket;
    std::string name;
    Done<EndpointPlace> bound;  // one of the two is set
    Done<void> unbound;
  };

  explicit EmbeddedDirectory(std::string runtime);
  Result<EndpointPlace> bind_locked(const BindRequest& request, std::vector<Waiter>& woken);
  std::uint32_t dc_locked(const std::string& dc);
  std::vector<Waiter> take_waiters(const std::string& name, bool bound);

  std::string runtime_;
  std::uint64_t process_;
  fabric::DcKey key_{};
  mutable std::mutex mutex_;
  Listener* listener_ = nullptr;
  std::map<std::string, std::uint32_t, std::less<>> dcs_;
  std::map<EndpointId, std::shared_ptr<EndpointPlace>> places_;
  std::map<std::string, std::shared_ptr<EndpointPlace>, std::less<>> names_;
  std::vector<Waiter> waiters_;
  std::uint32_t next_slot_ = 1;
  Ticket next_ticket_ = 1;
};

}  // namespace godwit
