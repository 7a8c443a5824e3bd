// The client library of the key-value store. On the endpoint's thread only.
#pragma once

#include <chrono>
#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "godwit/endpoint.h"
#include "protocol.h"

namespace kv {

class Client {
 public:
  /// `server` is a full name ("demo/kv"). A server that died is looked up again by itself when the
  /// request was certainly not executed; otherwise the error's outcome is `unknown`, and the caller
  /// decides: get() and put() may be repeated, remove() and add() would answer differently.
  Client(godwit::Endpoint& endpoint, std::string server, godwit::Wait::Clock::duration patience)
      : endpoint_(endpoint), server_(std::move(server)), patience_(patience) {}

  godwit::Result<void> put(std::string_view key, std::string_view value) {
    return ask(encode(Operation::put, key, value)).map([](const auto&) {});
  }

  /// nullopt if there is no such key.
  godwit::Result<std::optional<std::string>> get(std::string_view key) {
    return ask(encode(Operation::get, key));
  }

  /// Whether the key was there.
  godwit::Result<bool> remove(std::string_view key) {
    return ask(encode(Operation::remove, key)).map([](const auto& value) {
      return value.has_value();
    });
  }

  /// Counts the key's value up by one, from 0 if there is none. The new count. Not to be repeated
  /// when the outcome is `unknown`.
  godwit::Result<std::uint64_t> add(std::string_view key) {
    return ask(encode(Operation::add, key)).map([](const auto& value) {
      return value ? std::strtoull(value->c_str(), nullptr, 10) : 0;
    });
  }

  /// From now on each change of the key sets `bit` (0 to 63) at this endpoint: receive() gives a
  /// notification. The server's death ends it.
  godwit::Result<void> watch(std::string_view key, std::uint8_t bit) {
    return ask(encode(Operation::watch, key, {}, bit)).map([](const auto&) {});
  }

 private:
  // The reply's value; nullopt for not_found.
  godwit::Result<std::optional<std::string>> ask(const std::string& request) {
    auto reply = endpoint_.call(server_, godwit::bytes_of(request), patience_);
    if (!reply) return tl::make_unexpected(std::move(reply.error()));
    const std::string_view text = reply->text();
    if (text.empty() || text[0] == static_cast<char>(Status::bad_request)) {
      return godwit::fail(godwit::Errc::protocol_error, "the server did not understand", server_);
    }
    if (text[0] == static_cast<char>(Status::not_found)) return std::nullopt;
    return std::string(text.substr(1));
  }

  godwit::Endpoint& endpoint_;
  std::string server_;
  godwit::Wait::Clock::duration patience_;
};

}  // namespace kv
