// Bulk copy: a server grants its memory, a client copies it without the server's application taking
// part.
//
//   example_bulk server 256 &     offers 256 MiB
//   example_bulk client           copies them, and checks every byte
//
// A message has at most 16 MiB (kMaxMessage); grants have no such limit. What is sent is only the
// GrantRef: 40 bytes that name the memory and prove the right to read it.
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <vector>

#include "../common/check.h"
#include "../common/stop_on_signal.h"
#include "godwit/godwit.h"

using namespace std::chrono_literals;

namespace {

constexpr const char* kName = "demo/bulk";

// What stands at word `i`: anybody can compute it, and no two words are alike.
std::uint64_t pattern(std::uint64_t i) {
  return i * 0x9E3779B97F4A7C15u ^ i >> 7;
}

int serve(std::size_t mebibytes) {
  StopOnSignal stop;
  std::vector<std::uint64_t> data(mebibytes << 17);
  for (std::size_t i = 0; i < data.size(); ++i) data[i] = pattern(i);

  auto process = check(godwit::Process::attach(), "attach");
  auto endpoint = check(process->bind(kName), "bind");
  const auto grant = check(endpoint.grant(std::as_bytes(std::span(data))), "grant");
  std::printf("offering %zu MiB as %s\n", mebibytes, kName);
  std::fflush(stdout);

  // Whoever asks gets the reference. Their copies are served by this loop's engine, not by its
  // code.
  while (auto request = endpoint.receive_request(stop.token())) {
    check(endpoint.reply(std::move(*request), grant.to_bytes()), "reply");
  }
  // After this nobody reads the memory any more: it may go.
  check(endpoint.revoke(grant, 5s), "revoke");
  return 0;
}

int copy() {
  auto process = check(godwit::Process::attach(), "attach");
  auto me = check(process->bind_anonymous("demo"), "bind");
  const auto server = check(me.wait_bound(kName, 5s), "no bulk server");
  const auto reply = check(me.call(server, godwit::bytes_of("your grant, please"), 2s), "call");
  const auto grant = check(godwit::GrantRef::from_bytes(reply.payload()), "grant");

  std::vector<std::uint64_t> data(grant.length / sizeof(std::uint64_t));
  const auto start = std::chrono::steady_clock::now();
  check(me.copy_from(grant, 0, std::as_writable_bytes(std::span(data)), 60s), "copy_from");
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;

  std::size_t wrong = 0;
  for (std::size_t i = 0; i < data.size(); ++i) wrong += data[i] != pattern(i);
  std::printf("%.0f MiB in %.1f ms: %.2f GB/s, %zu words wrong\n", double(grant.length) / (1 << 20),
              took.count() * 1e3, double(grant.length) / took.count() / 1e9, wrong);

  // The right was to read. Writing is refused by the owner, whatever this end claims.
  godwit::GrantRef forged = grant;
  forged.rights = godwit::Rights::read_write;
  const auto refused = me.copy_to(forged, 0, std::as_bytes(std::span(data).first(1)), 5s);
  const bool safe = !refused && refused.error().code == godwit::Errc::permission_denied;
  std::printf("writing without the right: %s\n",
              refused ? "done" : refused.error().to_string().c_str());
  return wrong == 0 && safe && !data.empty() ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view role = argc > 1 ? argv[1] : "";
  const int mebibytes = argc > 2 ? std::atoi(argv[2]) : 64;
  if (role == "server" && mebibytes > 0) return serve(static_cast<std::size_t>(mebibytes));
  if (role == "client") return copy();
  std::fprintf(stderr, "usage: %s server [MEBIBYTES] | client\n", argv[0]);
  return 2;
}
