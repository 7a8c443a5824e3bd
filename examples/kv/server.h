// A key-value store behind an endpoint, which can move to another node with all it holds. On the
// endpoint's thread only.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <map>
#include <optional>
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

  /// Without a request, as before the server is bound.
  void put(const std::string& key, std::string_view value) {
    std::string& stored = values_[key];
    bytes_ += value.size() - stored.size();
    stored.assign(value);
  }

  // godwit::State: every value once, in the order of the keys, while clients are served; those that
  // change behind the cursor again; and the rest, with the watchers, while the clients wait.
  void begin() override {
    moving_ = true;
    cursor_.emplace();
    changed_.clear();
    copied_ = 0;
  }
  godwit::Result<void> save(godwit::StateWriter& out) override {
    while (!out.full() && save_one(out)) {
    }
    return {};
  }
  std::uint64_t unsaved() const override {
    return changed_.size() * (bytes_ / std::max<std::size_t>(values_.size(), 1) + 1) +
           (cursor_ ? std::max(bytes_, copied_ + 1) - copied_ : 0);
  }
  godwit::Result<void> save_rest(godwit::StateWriter& out) override {
    while (save_one(out)) {
    }
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
        put(std::string(parsed->key), parsed->value);
        return {};
      }
    } else if (kind == kRemoved) {
      remove(std::string(text));
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
    changed_.clear();
    cursor_.reset();
    moving_ = false;
    bytes_ = 0;
  }

 private:
  enum Record : std::uint32_t { kValue = 1, kRemoved = 2, kWatcher = 3 };

  struct Watcher {
    godwit::EndpointId who;
    std::uint8_t bit;
  };

  bool save_one(godwit::StateWriter& out) {
    if (cursor_) {
      const auto next = values_.lower_bound(*cursor_);
      if (next == values_.end()) {
        cursor_.reset();
        return !changed_.empty();
      }
      out.put(kValue, godwit::bytes_of(encode(Operation::put, next->first, next->second)));
      copied_ += next->second.size();
      *cursor_ = next->first + '\0';  // the least key above
      return true;
    }
    if (changed_.empty()) return false;
    const auto next = changed_.begin();
    const auto found = values_.find(*next);
    if (found == values_.end()) {
      out.put(kRemoved, godwit::bytes_of(*next));
    } else {
      out.put(kValue, godwit::bytes_of(encode(Operation::put, found->first, found->second)));
    }
    changed_.erase(next);
    return true;
  }

  bool remove(const std::string& key) {
    const auto found = values_.find(key);
    if (found == values_.end()) return false;
    bytes_ -= found->second.size();
    values_.erase(found);
    return true;
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
        put(key_, request.value);
        return changed();
      case Operation::remove:
        if (!remove(key_)) return fail(Status::not_found);
        return changed();
      case Operation::add: {
        const auto found = values_.find(key_);
        const std::uint64_t count =
            found == values_.end() ? 0 : std::strtoull(found->second.c_str(), nullptr, 10);
        const std::string now = std::to_string(count + 1);
        put(key_, now);
        reply_ += now;
        return changed();
      }
      case Operation::watch:
        watchers_[key_].push_back({source, request.header.bit});
        return;
    }
    fail(Status::bad_request);
  }

  void fail(Status status) { reply_[0] = static_cast<char>(status); }

  void changed() {
    // What lies before the cursor is saved in its turn.
    if (moving_ && (!cursor_ || key_ < *cursor_)) changed_.insert(key_);
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
  std::map<std::string, std::string> values_;
  std::unordered_map<std::string, std::vector<Watcher>> watchers_;
  std::size_t bytes_ = 0;  // of the values

  // Of a move: the next key to copy, while there is one; and what has changed behind it.
  bool moving_ = false;
  std::optional<std::string> cursor_;
  std::unordered_set<std::string> changed_;
  std::size_t copied_ = 0;   // bytes of values
  std::string key_, reply_;  // kept, so that their memory is
};

}  // namespace kv
