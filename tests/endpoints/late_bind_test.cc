// Others may learn of a bind before its owner does: the agent's answer to the owner takes its time.
#include <gtest/gtest.h>

#include <future>
#include <memory>
#include <thread>

#include "embedded_directory.h"
#include "godwit/process.h"

namespace godwit {
namespace {

using namespace std::chrono_literals;

constexpr auto kLong = 20s;

/// An EmbeddedDirectory that holds back its answer to the bind of the name "late".
class LateDirectory final : public Resolver {
 public:
  LateDirectory(std::unique_ptr<EmbeddedDirectory> inner, std::shared_future<void> release)
      : inner_(std::move(inner)), release_(std::move(release)) {}

  void bind(const BindRequest& request, Done<EndpointPlace> done) override {
    if (request.name != "late") return inner_->bind(request, std::move(done));
    inner_->bind(request, [this, done = std::move(done)](Result<EndpointPlace> place) mutable {
      answering_ = std::jthread(
          [release = release_, place = std::move(place), done = std::move(done)]() mutable {
            release.wait();
            done(std::move(place));
          });
    });
  }

  void set_listener(Listener* listener) override { inner_->set_listener(listener); }
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

 private:
  std::unique_ptr<EmbeddedDirectory> inner_;
  std::shared_future<void> release_;
  std::jthread answering_;
};

TEST(LateBind, WhoCallsBeforeTheOwnerKnowsIsServed) {
  std::promise<void> release;
  auto inner = EmbeddedDirectory::create();
  ASSERT_TRUE(inner);
  auto process = Process::with_resolver(
      std::make_unique<LateDirectory>(std::move(*inner), release.get_future().share()), {});
  ASSERT_TRUE(process) << process.error().to_string();

  std::jthread owner([&process](const std::stop_token& stop) {
    auto server = (*process)->bind("demo/late");
    ASSERT_TRUE(server) << server.error().to_string();
    while (auto request = server->receive_request(stop)) {
      ASSERT_TRUE(server->reply(std::move(*request), Bytes()));
    }
  });
  auto client = (*process)->bind_anonymous("demo");
  ASSERT_TRUE(client);
  const auto late = client->wait_bound("demo/late", kLong);
  ASSERT_TRUE(late) << late.error().to_string();
  bool answered = false;
  ASSERT_TRUE(client->call_async(*late, Bytes(), [&answered](Result<Message> reply) {
    EXPECT_TRUE(reply) << reply.error().to_string();
    answered = true;
  }));
  (void)(*process)->run_until([&] { return answered; }, 30ms);
  EXPECT_FALSE(answered);
  release.set_value();
  EXPECT_TRUE((*process)->run_until([&] { return answered; }, kLong));
}

}  // namespace
}  // namespace godwit
