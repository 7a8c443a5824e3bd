// Two engines of different machines (or of one) and one connection between them, without agents or
// endpoints: what a transport itself costs. For the lab, where it stands beside ib_send_lat and
// ib_write_bw.
//
//   node 1:  godwit_link_bench --transport verbs --host 10.77.0.1 --serve > address
//   node 2:  godwit_link_bench --transport verbs --host 10.77.0.2 --to $(cat address) --size 64
//
// The client prints one line of JSON: half round trips in microseconds, or MiB/s with --stream. The
// server serves one client after the other, until it is killed.
#include <stdlib.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

#include "godwit/fabric/fabric.h"

namespace {

using namespace godwit;          // NOLINT: a program
using namespace godwit::fabric;  // NOLINT: a program
using Clock = std::chrono::steady_clock;

constexpr std::uint32_t kDc = 1;
enum Tag : std::uint32_t { kEcho = 1, kTake = 2, kLast = 3 };

struct Options {
  std::string transport = "verbs", host = "127.0.0.1", to;
  bool serve = false, stream = false, sleep = false;
  std::uint32_t size = 64, count = 10'000;
};

class Side final : public ConnectionEvents {
 public:
  explicit Side(const Options& options) : options_(options) {
    std::string pattern = (std::filesystem::temp_directory_path() / "godwit-link-XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("no temporary folder");
    folder_ = pattern;
    DcKey key;
    key.fill(7);
    FabricOptions wanted;
    wanted.identity = {EngineId::random(), "bench-" + options.host,
                       [key](std::uint32_t) { return std::optional(key); }};
    wanted.runtime_directory = folder_;
    wanted.listen_host = options.host;
    const auto kind = parse_transport(options.transport);
    if (!kind) throw std::runtime_error(kind.error().to_string());
    wanted.transports = {*kind};
    wanted.force = *kind;
    auto made = Fabric::create(std::move(wanted), *this);
    if (!made) throw std::runtime_error(made.error().to_string());
    fabric_ = std::move(*made);
    kind_ = *kind;
  }
  ~Side() {
    fabric_.reset();
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }

  void serve() {
    std::string text;
    for (const unsigned char byte : fabric_->address().serialize()) {
      char digits[3];
      std::snprintf(digits, sizeof digits, "%02x", byte);
      text += digits;
    }
    std::printf("%s\n", text.c_str());
    std::fflush(stdout);
    while (true) step();
  }

  void measure() {
    std::string blob;
    for (std::size_t i = 0; i + 1 < options_.to.size(); i += 2)
      blob += static_cast<char>(std::stoi(options_.to.substr(i, 2), nullptr, 16));
    auto address = EngineAddress::parse(blob);
    if (!address) throw std::runtime_error(address.error().to_string());
    auto dialed = fabric_->connect(*address, kDc, kind_);
    if (!dialed) throw std::runtime_error(dialed.error().to_string());
    while (connection_ == nullptr) step();
    if (options_.stream) {
      stream(std::max(1u, options_.count / 10));
      const double took = stream(options_.count);
      const double bytes = double(options_.size) * options_.count;
      std::printf("{\"size\": %u, \"count\": %u, \"mib_per_s\": %.1f, \"messages_per_s\": %.0f}\n",
                  options_.size, options_.count, bytes / took / (1 << 20), options_.count / took);
    } else {
      ping_pong(options_.count / 10);
      std::vector<double> times = ping_pong(options_.count);
      std::sort(times.begin(), times.end());
      std::printf(
          "{\"size\": %u, \"count\": %u, \"p50_us\": %.2f, \"p99_us\": %.2f, "
          "\"min_us\": %.2f}\n",
          options_.size, options_.count, times[times.size() / 2], times[times.size() * 99 / 100],
          times[0]);
    }
  }

  void on_established(Connection& connection) override { connection_ = &connection; }
  void on_frame(Connection& connection, const FrameHeader& header, std::span<const std::byte>,
                Buffer) override {
    ++received_;
    if (!options_.serve) return;
    if (header.upper[0] == kEcho) send(connection, header.length, kEcho);
    if (header.upper[0] == kLast) send(connection, 8, kLast);
  }
  Buffer place(Connection&, const FrameHeader& header) override {
    return fabric_->arena().allocate(header.length);
  }
  void on_writable(Connection&) override {}
  void on_closed(Connection&, const Error& reason) override {
    if (options_.serve) return;
    throw std::runtime_error(reason.to_string());
  }

 private:
  void step() {
    if (fabric_->progress() != 0) {
      idle_ = 0;
      return;
    }
    if (++idle_ % 64 == 0) fabric_->poll_descriptors();
    if (options_.sleep ? has_spun() : options_.serve && idle_ > 1'000'000) {
      fabric_->sleep(Clock::now() + std::chrono::seconds(1));
      idle_ = 0;
    }
  }

  /// As long as an engine spins unless it is told otherwise.
  bool has_spun() {
    const auto now = Clock::now();
    if (idle_ == 1) idle_since_ = now;
    return now - idle_since_ >= std::chrono::microseconds(50);
  }

  void send(Connection& connection, std::uint32_t size, Tag tag) {
    FramePtr frame = fabric_->frames().allocate(std::min(size, kSmallPayload));
    frame->header.length = size;
    frame->header.upper[0] = tag;
    while (size > kSmallPayload && frame->large.empty()) {
      frame->large = fabric_->arena().allocate(size);
      if (frame->large.empty()) step();
    }
    while (connection.post(frame) == SendStatus::would_block) step();
  }

  std::vector<double> ping_pong(std::uint32_t count) {
    std::vector<double> times;
    times.reserve(count);
    for (std::uint32_t i = 0; i < count; ++i) {
      const auto start = Clock::now();
      const std::uint64_t before = received_;
      send(*connection_, options_.size, kEcho);
      while (received_ == before) step();
      times.push_back(std::chrono::duration<double, std::micro>(Clock::now() - start).count() / 2);
    }
    return times;
  }

  double stream(std::uint32_t count) {
    const auto start = Clock::now();
    const std::uint64_t before = received_;
    for (std::uint32_t i = 0; i < count; ++i) send(*connection_, options_.size, kTake);
    send(*connection_, 8, kLast);
    while (received_ == before) step();
    return std::chrono::duration<double>(Clock::now() - start).count();
  }

  Options options_;
  std::string folder_;
  TransportKind kind_{};
  std::unique_ptr<Fabric> fabric_;
  Connection* connection_ = nullptr;
  std::uint64_t received_ = 0;
  std::uint64_t idle_ = 0;
  Clock::time_point idle_since_;
};

}  // namespace

int main(int argc, char** argv) {
  Options options;
  CLI::App app{"Latency and bandwidth of one connection between two engines."};
  app.add_option("--transport", options.transport, "verbs, ucx or tcp")->capture_default_str();
  app.add_option("--host", options.host, "this side's numeric address")->capture_default_str();
  app.add_flag("--serve", options.serve, "print this engine's address and answer clients");
  app.add_option("--to", options.to, "a server's address, as it printed it");
  app.add_option("--size", options.size, "bytes of payload")->capture_default_str();
  app.add_option("--count", options.count, "messages")->capture_default_str();
  app.add_flag("--stream", options.stream, "one way, as fast as it goes, instead of ping-pong");
  app.add_flag("--sleep", options.sleep,
               "sleep after 50 us without anything to do, instead of polling");
  CLI11_PARSE(app, argc, argv);
  try {
    Side side(options);
    if (options.serve) {
      side.serve();
    } else {
      side.measure();
    }
  } catch (const std::exception& failure) {
    std::fprintf(stderr, "godwit_link_bench: %s\n", failure.what());
    return 1;
  }
  return 0;
}
