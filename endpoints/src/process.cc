#include "godwit/process.h"

#include <sodium.h>

#include <atomic>
#include <cstdlib>
#include <fstream>
#include <map>
#include <mutex>

#include "counters_page.h"
#include "embedded_directory.h"
#include "engine/engine.h"
#include "godwit/agent_link.h"
#include "godwit/relocation.h"

namespace godwit {

namespace {

std::string program_name() {
  std::string name;
  std::ifstream("/proc/self/comm") >> name;
  return name;
}

}  // namespace

class Process::Impl final : public Resolver::Listener {
 public:
  Impl(std::unique_ptr<Resolver> resolver, ProcessOptions options)
      : resolver_(std::move(resolver)), options_(std::move(options)), node_(resolver_->node()) {
    const std::string program = options_.program.empty() ? program_name() : options_.program;
    auto counters =
        CountersFile::create(resolver_->runtime_directory(), resolver_->process(), node_, program);
    // Without the file (a full disk) the process works all the same; `godwit stat` does not list
    // it.
    if (counters) counters_ = std::move(*counters);
    resolver_->set_listener(this);
  }

  ~Impl() {
    resolver_->set_listener(nullptr);
    const std::lock_guard lock(mutex_);
    engines_.clear();
  }

  /// The calling thread's engine, made at its first use.
  Result<std::shared_ptr<Engine>> engine() {
    const std::lock_guard lock(mutex_);
    auto& engine = engines_[std::this_thread::get_id()];
    if (engine == nullptr) {
      auto made =
          Engine::create(resolver_, options_, counters_ ? counters_->take_block() : nullptr);
      if (!made) {
        engines_.erase(std::this_thread::get_id());
        return made;
      }
      engine = std::move(*made);
    }
    return engine;
  }

  /// The calling thread's engine if it has one. It lives as long as the process.
  Engine* existing() {
    // allocate() asks for every message that is handed over.
    thread_local std::uint64_t last_process = 0;
    thread_local Engine* last = nullptr;
    if (last_process == serial_) return last;
    const std::lock_guard lock(mutex_);
    const auto known = engines_.find(std::this_thread::get_id());
    if (known == engines_.end()) return nullptr;
    last_process = serial_;
    last = known->second.get();
    return last;
  }

  void on_endpoint_changed(const EndpointPlace& place) override {
    const std::lock_guard lock(mutex_);
    for (auto& [thread, engine] : engines_) {
      engine->post([raw = engine.get(), place] { raw->on_endpoint_changed(place); });
    }
  }
  void on_agent(bool) override {
  }  // established traffic goes on; the link repeats what it was asked

  Resolver& resolver() { return *resolver_; }
  const std::string& node() const { return node_; }

 private:
  static std::uint64_t next_serial() {
    static std::atomic<std::uint64_t> serial{0};
    return ++serial;
  }

  const std::uint64_t serial_ = next_serial();  // no other process object of this program has it
  std::shared_ptr<Resolver> resolver_;
  ProcessOptions options_;
  std::string node_;
  std::unique_ptr<CountersFile> counters_;
  std::mutex mutex_;
  std::map<std::thread::id, std::shared_ptr<Engine>> engines_;
};

Process::Process(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Process::~Process() = default;

Result<std::unique_ptr<Process>> Process::with_resolver(std::unique_ptr<Resolver> resolver,
                                                        ProcessOptions options) {
  if (sodium_init() < 0) return fail(Errc::system, "libsodium cannot start");
  if (const char* forced = std::getenv("GODWIT_TRANSPORT"); forced != nullptr && *forced != '\0') {
    auto kind = fabric::parse_transport(forced);
    if (!kind) {
      kind.error().message = "GODWIT_TRANSPORT: " + kind.error().message;
      return tl::make_unexpected(kind.error());
    }
    options.force_transport = *kind;
  }
  if (options.force_transport) options.transports = {*options.force_transport};
  return std::unique_ptr<Process>(
      new Process(std::make_unique<Impl>(std::move(resolver), std::move(options))));
}

Result<std::unique_ptr<Process>> Process::attach(ProcessOptions options) {
  AgentLinkOptions link;
  link.runtime_directory = options.runtime_directory;
  link.program = options.program;
  auto attached = AgentLink::attach(std::move(link));
  if (!attached) return tl::make_unexpected(attached.error());
  return with_resolver(std::move(*attached), std::move(options));
}

Result<std::unique_ptr<Process>> Process::embedded(ProcessOptions options) {
  auto directory = EmbeddedDirectory::create();
  if (!directory) return tl::make_unexpected(directory.error());
  return with_resolver(std::move(*directory), std::move(options));
}

Result<Endpoint> Process::bind(std::string_view full_name, const Wait& wait) {
  auto name = EndpointName::parse(full_name);
  if (!name) return tl::make_unexpected(name.error());
  auto engine = impl_->engine();
  if (!engine) return tl::make_unexpected(engine.error());
  return (*engine)->bind(name->dc, name->name, wait);
}

Result<Endpoint> Process::bind_anonymous(std::string_view dc, const Wait& wait) {
  if (auto checked = check_name("a DC's name", dc); !checked)
    return tl::make_unexpected(checked.error());
  auto engine = impl_->engine();
  if (!engine) return tl::make_unexpected(engine.error());
  return (*engine)->bind(dc, {}, wait);
}

Result<std::vector<Result<Endpoint>>> Process::bind_many(const std::vector<std::string>& full_names,
                                                         const Wait& wait) {
  auto engine = impl_->engine();
  if (!engine) return tl::make_unexpected(engine.error());
  return (*engine)->bind_many(full_names, wait);
}

Result<fabric::Buffer> Process::allocate(std::size_t size) {
  if (Engine* engine = impl_->existing()) return engine->allocate(size);
  auto engine = impl_->engine();
  if (!engine) return tl::make_unexpected(engine.error());
  return (*engine)->allocate(size);
}

unsigned Process::progress() {
  Engine* engine = impl_->existing();
  return engine == nullptr ? 0 : engine->progress_with_descriptors();
}

Result<void> Process::run_until(const std::function<bool()>& until, const Wait& wait) {
  if (Engine* engine = impl_->existing()) return engine->run_until(until, wait);
  auto engine = impl_->engine();
  if (!engine) return tl::make_unexpected(engine.error());
  return (*engine)->run_until(until, wait);
}

void Process::flush() {
  if (Engine* engine = impl_->existing()) engine->flush();
}

unsigned Process::cut_connections(std::optional<fabric::TransportKind> next) {
  Engine* engine = impl_->existing();
  return engine == nullptr ? 0 : engine->cut_connections(next);
}

std::optional<fabric::TransportKind> Process::transport_to(const Endpoint& from,
                                                           const Remote& to) const {
  return from.engine_ == nullptr ? std::nullopt : from.engine_->transport_to(to);
}

const std::string& Process::node() const {
  return impl_->node();
}
Resolver& Process::resolver() {
  return impl_->resolver();
}

// --- what a mover needs of a process -------------------------------------------------------------

Result<void> Relocation::acquaint(Process& process, std::uint32_t dc,
                                  std::string_view engine_address) {
  auto engine = process.impl_->engine();
  if (!engine) return tl::make_unexpected(engine.error());
  return (*engine)->acquaint(dc, engine_address);
}

Result<Endpoint> Relocation::install(Process& process, std::string_view image) {
  auto engine = process.impl_->engine();
  if (!engine) return tl::make_unexpected(engine.error());
  return (*engine)->install(image);
}

Result<Relocation::Poster> Relocation::poster(Process& process) {
  auto engine = process.impl_->engine();
  if (!engine) return tl::make_unexpected(engine.error());
  return [weak = std::weak_ptr<Engine>(*engine)](std::function<void()> task) {
    if (const auto alive = weak.lock()) alive->post(std::move(task));
  };
}

Result<std::vector<Endpoint>> Relocation::bind(Process& process,
                                               const std::vector<std::string>& names,
                                               const std::string& program, const Wait& wait) {
  auto engine = process.impl_->engine();
  if (!engine) return tl::make_unexpected(engine.error());
  auto bound = (*engine)->bind_many(names, wait, program);
  if (!bound) return tl::make_unexpected(bound.error());
  std::vector<Endpoint> endpoints;
  for (Result<Endpoint>& one : *bound) {
    if (!one) return tl::make_unexpected(std::move(one.error()));
    endpoints.push_back(std::move(*one));
  }
  return endpoints;
}

Result<std::string> Relocation::engine_address(Process& process) {
  auto engine = process.impl_->engine();
  if (!engine) return tl::make_unexpected(engine.error());
  return (*engine)->address();
}

}  // namespace godwit
