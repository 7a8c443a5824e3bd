// Reaper: writes into the directory that endpoints of this node ended, and does not give up: what
// fails because the directory is away or its disk is full is written when it is not.
//
// Owner: the Agent. Loop's thread.
#pragma once

#include <cstddef>
#include <deque>
#include <functional>
#include <string>

#include "agent/on_loop.h"
#include "godwit/coord/directory.h"
#include "godwit/endpoint_id.h"

namespace godwit::node {

class Reaper {
 public:
  enum class End : std::uint8_t { unbound, dead };

  Reaper(EventLoop& loop, coord::Directory& directory) : loop_(loop), directory_(directory) {}
  ~Reaper() { loop_.cancel(retry_); }

  /// `done`, if given, is called when it stands in the directory (or was so already).
  void add(std::string dc, EndpointId id, std::uint64_t process, End end,
           std::function<void()> done = {});
  void on_connected();
  bool idle() const noexcept { return queue_.empty() && in_flight_ == 0; }

 private:
  struct Item {
    std::string dc;
    EndpointId id;
    std::uint64_t process;
    End end;
    std::function<void()> done;
  };

  void pump();

  EventLoop& loop_;
  coord::Directory& directory_;
  std::deque<Item> queue_;
  std::size_t in_flight_ = 0;
  EventLoop::TimerId retry_ = 0;  // set: the last write failed, nothing is tried before
  Lifetime lifetime_;
};

}  // namespace godwit::node
