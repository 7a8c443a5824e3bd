#include "agent/reaper.h"

#include <utility>

#include "agent/errors.h"

namespace godwit::node {

namespace {
using namespace std::chrono_literals;
constexpr std::size_t kMaxInFlight = 2048;
constexpr auto kWriteLimit = 10s;
constexpr auto kRetry = 500ms;
}  // namespace

void Reaper::add(std::string dc, EndpointId id, std::uint64_t process, End end,
                 std::function<void()> done) {
  queue_.push_back({std::move(dc), id, process, end, std::move(done)});
  pump();
}

void Reaper::on_connected() {
  loop_.cancel(retry_);
  pump();
}

void Reaper::pump() {
  while (retry_ == 0 && in_flight_ < kMaxInFlight && !queue_.empty()) {
    Item item = std::move(queue_.front());
    queue_.pop_front();
    ++in_flight_;
    const Item& sent = item;
    const auto deadline = coord::after(kWriteLimit);
    auto done = [this, item](coord::Result<void> result) mutable {
      --in_flight_;
      if (!result && is_transient(result.error().code)) {
        queue_.push_back(std::move(item));
        if (retry_ == 0) {
          retry_ = loop_.after(kRetry, [this] {
            retry_ = 0;
            pump();
          });
        }
        return;
      }
      // Between intent and commit nothing is unbound: who leaves then is lost.
      if (!result && result.error().code == coord::Errc::endpoint_stale &&
          item.end == End::unbound) {
        item.end = End::dead;
        queue_.push_back(std::move(item));
        return pump();
      }
      // Also endpoint_stale or dc_unknown: it is over already, or another's by a move.
      if (item.done) item.done();
      pump();
    };
    auto answer = on_loop<void>(loop_, lifetime_, std::move(done));
    if (sent.end == End::dead) {
      directory_.mark_dead(sent.dc, sent.id.slot, sent.id.generation, sent.process, deadline,
                           std::move(answer));
    } else {
      directory_.unbind(sent.dc, sent.id.slot, sent.id.generation, sent.process, deadline,
                        std::move(answer));
    }
  }
}

}  // namespace godwit::node
