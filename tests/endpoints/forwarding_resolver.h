// ForwardingResolver: passes each question on to an EmbeddedDirectory that others may share. Tests
// that want one answered otherwise override that one.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "embedded_directory.h"

namespace godwit {

class ForwardingResolver : public Resolver {
 public:
  explicit ForwardingResolver(std::shared_ptr<EmbeddedDirectory> inner)
      : inner_(std::move(inner)) {}

  void set_listener(Listener* listener) override { inner_->set_listener(listener); }
  void bind(const BindRequest& request, Done<EndpointPlace> done) override {
    inner_->bind(request, std::move(done));
  }
  void bind_many(const std::vector<BindRequest>& requests,
                 Done<std::vector<Result<EndpointPlace>>> done) override {
    inner_->bind_many(requests, std::move(done));
  }
  void unbind(EndpointId id, Done<void> done) override { inner_->unbind(id, std::move(done)); }
  std::shared_ptr<const EndpointPlace> cached(std::string_view name) override {
    return inner_->cached(name);
  }
  void resolve(std::string_view name, Done<EndpointPlace> done) override {
    inner_->resolve(name, std::move(done));
  }
  void locate(EndpointId id, Done<EndpointPlace> done) override {
    inner_->locate(id, std::move(done));
  }
  Ticket wait_bound(std::string_view name, Done<EndpointPlace> done) override {
    return inner_->wait_bound(name, std::move(done));
  }
  Ticket wait_unbound(std::string_view name, Done<void> done) override {
    return inner_->wait_unbound(name, std::move(done));
  }
  void cancel(Ticket ticket) override { inner_->cancel(ticket); }
  void find_dc(std::string_view dc, Done<std::uint32_t> done) override {
    inner_->find_dc(dc, std::move(done));
  }
  std::optional<fabric::DcKey> key(std::uint32_t dc) const override { return inner_->key(dc); }
  std::string node() const override { return inner_->node(); }
  std::uint64_t process() const override { return inner_->process(); }
  std::string runtime_directory() const override { return inner_->runtime_directory(); }
  std::string listen_host() const override { return inner_->listen_host(); }

 protected:
  const std::shared_ptr<EmbeddedDirectory> inner_;
};

}  // namespace godwit
