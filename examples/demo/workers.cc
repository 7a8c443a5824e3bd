#include "workers.h"

#include <cstdlib>
#include <iterator>
#include <thread>

#include "local_cluster/worker_line.h"

namespace demo {

using godwit::fabric::TransportKind;
using godwit::local_cluster::WorkerLine;

void say_failed(const char* what, const godwit::Error& error) {
  WorkerLine("failed").with("what", what).with("error", error.to_string()).say();
  std::_Exit(1);  // other threads of this worker may be at work: no destructors
}

std::uint64_t now_ns() {
  return static_cast<std::uint64_t>(std::chrono::steady_clock::now().time_since_epoch() /
                                    std::chrono::nanoseconds(1));
}

std::unique_ptr<godwit::Process> attach(const WorkerOptions& options, unsigned crowd) {
  godwit::ProcessOptions process_options;
  process_options.runtime_directory = options.runtime_directory;
  process_options.program = "demo-" + options.role;
  process_options.transports = {TransportKind::shm, TransportKind::tcp, TransportKind::ucx};
  if (std::thread::hardware_concurrency() < crowd) process_options.spin = {};
  if (!options.transport.empty()) {
    process_options.force_transport =
        need(godwit::fabric::parse_transport(options.transport), "transport");
  }
  auto process = godwit::Process::attach(process_options);
  // The engine, and so its transports, are made with the first endpoint.
  godwit::Error error;
  if (process) {
    auto probe = (*process)->bind_anonymous(kDc);
    if (probe) return std::move(*process);
    error = probe.error();
  } else {
    error = process.error();
  }
  if (error.code != godwit::Errc::not_supported) say_failed("attach", error);
  WorkerLine("unavailable").with("why", error.to_string()).say();
  return nullptr;
}

std::string transport_name(godwit::Process& process, const godwit::Endpoint& from,
                           const godwit::Remote& to) {
  const auto kind = process.transport_to(from, to);
  return kind ? std::string(to_string(*kind)) : "none";
}

int run_worker(const WorkerOptions& options) {
  struct Role {
    const char* name;
    int (*run)(const WorkerOptions&);
  };
  constexpr Role kRoles[] = {
      {"store", serve_store},          {"caller", call_store},   {"archive", serve_archive},
      {"copier", copy_archive},        {"watcher", watch_store}, {"ledger", serve_ledger},
      {"ledger-writer", write_ledger}, {"mobile", serve_mobile}, {"mobile-client", call_mobile},
  };
  for (const Role& role : kRoles) {
    if (options.role == role.name) return role.run(options);
  }
  return 2;
}

}  // namespace demo
