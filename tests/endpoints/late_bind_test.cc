// Others may learn of a bind before its owner does: the agent's answer to the owner takes its time.
#include <gtest/gtest.h>

#include <future>
#include <memory>
#include <thread>

#include "endpoints/forwarding_resolver.h"
#include "godwit/process.h"

namespace godwit {
namespace {

using namespace std::chrono_literals;

constexpr auto kLong = 20s;

/// An EmbeddedDirectory that holds back its answer to the bind of the name "late".
class LateDirectory final : public ForwardingResolver {
 public:
  LateDirectory(std::unique_ptr<EmbeddedDirectory> inner, std::shared_future<void> release)
      : ForwardingResolver(std::move(inner)), release_(std::move(release)) {}

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

 private:
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
