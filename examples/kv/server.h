// A key-value store behind an endpoint, which can move to another node with all it holds. On the
// endpoint's thread only.
#pragma once

#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "godwit/movable.h"
#include "protocol.h"

namespace kv {

class Server final : public godwit::State {
 public:
  /// Executes one request and answers it.
  godwit::Result<void> handle(godwit::Endpoint& endpoint, godwit::Request request) {
    endpoint_ = &endpoint;
    reply_.assign(1, static_cast<char>(Status::ok));
    if (const auto parsed = parse(request.payload())) {
      execute(*parsed, request.source());
    } else {
      reply_[0] = static_cast<char>(Status::bad_request);
    }
    return endpoint.reply(std::move(request), godwit::bytes_of(reply_));
  }

  // godwit::State: every value once while clients are served, those that change meanwhile again,
  // and the rest, with the watchers, while they wait.
  void begin() override {
    unsaved_.clear();
    for (const auto& [key, value] : values_) unsaved_.insert(key);
    moving_ = true;
  }
  godwit::Result<void> save(godwit::StateWriter& out) override {
    while (!unsaved_.empty() && !out.full()) save_one(out);
    return {};
  }
  std::uint64_t unsaved() const override { return unsaved_.size() * kGuess; }
  godwit::Result<void> save_rest(godwit::StateWriter& out) override {
    while (!unsaved_.empty()) save_one(out);
    for (const auto& [key, watchers] : watchers_) {
      for (const Watcher& watcher : watchers) {
        std::string record(reinterpret_cast<const char*>(&watcher), sizeof watcher);
        out.put(kWatcher, godwit::bytes_of(record + key));
      }
    }
    return {};
  }
  godwit::Result<void> load(std::uint32_t, std::uint32_t kind, godwit::Bytes record) override {
    const std::string_view text = godwit::text_of(record);
    Watcher watcher{};
    if (kind == kValue) {
      if (const auto parsed = parse(record)) {
        values_[std::string(parsed->key)].assign(parsed->value);
        return {};
      }
    } else if (kind == kRemoved) {
      values_.erase(std::string(text));
      return {};
    } else if (kind == kWatcher && text.size() >= sizeof watcher) {
      std::memcpy(&watcher, text.data(), sizeof watcher);
      watchers_[std::string(text.substr(sizeof watcher))].push_back(watcher);
      return {};
    }
    return godwit::fail(godwit::Errc::invalid_argument, "not a key-value server's state");
  }
  void reset() override {
    values_.clear();
    watchers_.clear();
    unsaved_.clear();
    moving_ = false;
  }

 private:
  enum Record : std::uint32_t { kValue = 1, kRemoved = 2, kWatcher = 3 };
  static constexpr std::uint64_t kGuess = 128;  // bytes of a key and its value

  struct Watcher {
    godwit::EndpointId who;
    std::uint8_t bit;
  };

  void save_one(godwit::StateWriter& out) {
    const auto next = unsaved_.begin();
    const auto found = values_.find(*next);
    if (found == values_.end()) {
      out.put(kRemoved, godwit::bytes_of(*next));
    } else {
      out.put(kValue, godwit::bytes_of(encode(Operation::put, found->first, found->second)));
    }
    unsaved_.erase(next);
  }

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
        return changed();
      case Operation::remove:
        if (values_.erase(key_) == 0) return fail(Status::not_found);
        return changed();
      case Operation::watch:
        watchers_[key_].push_back({source, request.header.bit});
        return;
    }
    fail(Status::bad_request);
  }

  void fail(Status status) { reply_[0] = static_cast<char>(status); }

  void changed() {
    if (moving_) unsaved_.insert(key_);
    tell_watchers();
  }

  // The source of a request can be addressed as any endpoint can. A notification never blocks and
  // needs no room at the watcher: changes that it has not seen yet merge into one. A watcher that
  // has died is forgotten.
  void tell_watchers() {
    const auto found = watchers_.find(key_);
    if (found == watchers_.end()) return;
    std::erase_if(found->second, [this](const Watcher& watcher) {
      auto who = endpoint_->lookup(watcher.who, std::chrono::seconds(1));
      return !who || !endpoint_->notify(*who, std::uint64_t{1} << watcher.bit).has_value();
    });
  }

  godwit::Endpoint* endpoint_ = nullptr;  // of the present request
  std::unordered_map<std::string, std::string> values_;
  std::unordered_map<std::string, std::vector<Watcher>> watchers_;
  std::unordered_set<std::string> unsaved_;  // keys, since a move began
  bool moving_ = false;
  std::string key_, reply_;  // kept, so that their memory is
};

}  // namespace kv
