// A key-value store behind an endpoint. On the endpoint's thread only.
#pragma once

#include <string>
#include <unordered_map>
#include <vector>

#include "godwit/endpoint.h"
#include "protocol.h"

namespace kv {

class Server {
 public:
  /// `endpoint` outlives the server.
  explicit Server(godwit::Endpoint& endpoint) : endpoint_(endpoint) {}

  /// Executes one request and answers it.
  godwit::Result<void> handle(godwit::Request request) {
    reply_.assign(1, static_cast<char>(Status::ok));
    if (const auto parsed = parse(request.payload())) {
      execute(*parsed, request.source());
    } else {
      reply_[0] = static_cast<char>(Status::bad_request);
    }
    return endpoint_.reply(std::move(request), godwit::bytes_of(reply_));
  }

 private:
  struct Watcher {
    godwit::Remote who;
    std::uint8_t bit;
  };

  void execute(const Parsed& request, godwit::EndpointId source) {
    key_.assign(request.key);
    switch (request.header.operation) {
      case Operation::get: {
        const auto found = values_.find(key_);
        if (found == values_.end()) return fail(Status::not_found);
        reply_ += found->second;
        return;
      }
      case Operation::put:
        values_[key_].assign(request.value);
        return tell_watchers();
      case Operation::remove:
        if (values_.erase(key_) == 0) return fail(Status::not_found);
        return tell_watchers();
      case Operation::watch:
        // The source of a request can be addressed as any endpoint can.
        if (auto who = endpoint_.lookup(source, std::chrono::seconds(1))) {
          watchers_[key_].push_back({*who, request.header.bit});
        }
        return;
    }
    fail(Status::bad_request);
  }

  void fail(Status status) { reply_[0] = static_cast<char>(status); }

  // A notification never blocks and needs no room at the watcher: changes that it has not seen yet
  // merge into one. A watcher that has died is forgotten.
  void tell_watchers() {
    const auto found = watchers_.find(key_);
    if (found == watchers_.end()) return;
    std::erase_if(found->second, [this](const Watcher& watcher) {
      return !endpoint_.notify(watcher.who, std::uint64_t{1} << watcher.bit).has_value();
    });
  }

  godwit::Endpoint& endpoint_;
  std::unordered_map<std::string, std::string> values_;
  std::unordered_map<std::string, std::vector<Watcher>> watchers_;
  std::string key_, reply_;  // kept, so that their memory is
};

}  // namespace kv
