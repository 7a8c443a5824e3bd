#include "cli/counters_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <system_error>
#include <utility>

#include "cli/units.h"

namespace godwit::node::cli {
namespace {

// A read-only mapping of a whole counters file.
class Mapping {
 public:
  static Result<Mapping> open(const std::filesystem::path& file) {
    const int fd = ::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) {
      if (errno == ENOENT) return fail(Errc::not_found, "there is no " + file.string());
      return fail_errno("cannot open " + file.string());
    }
    struct stat status {};
    if (::fstat(fd, &status) != 0 || !S_ISREG(status.st_mode) ||
        static_cast<std::uint64_t>(status.st_size) < sizeof(CountersPage)) {
      ::close(fd);
      return fail(Errc::protocol_error, file.string() + " is no counters file: too short");
    }
    void* memory = ::mmap(nullptr, sizeof(CountersPage), PROT_READ, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED) {
      auto error = fail_errno("cannot map " + file.string());
      ::close(fd);
      return error;
    }
    ::close(fd);
    return Mapping(static_cast<const CountersPage*>(memory));
  }
  explicit Mapping(const CountersPage* page) : page_(page) {}
  Mapping(Mapping&& other) noexcept : page_(std::exchange(other.page_, nullptr)) {}
  Mapping& operator=(Mapping&&) = delete;
  ~Mapping() {
    if (page_ != nullptr) ::munmap(const_cast<CountersPage*>(page_), sizeof(CountersPage));
  }
  const CountersPage& page() const { return *page_; }

 private:
  const CountersPage* page_;
};

template <std::size_t N>
std::string text_of(const std::array<char, N>& text) {
  return std::string(text.data(), ::strnlen(text.data(), N));
}

CounterValues values_of(const EngineCounters& engine) {
  CounterValues values;
  for (std::size_t field = 0; field < kCounterFields.size(); ++field)
    values.of_engine[field] = (engine.*kCounterFields[field].counter).get();
  for (std::size_t kind = 0; kind < kCountedTransports.size(); ++kind) {
    const auto& counters = engine.transport[static_cast<std::size_t>(kCountedTransports[kind])];
    for (std::size_t field = 0; field < kTransportFields.size(); ++field)
      values.of_transport[kind][field] = (counters.*kTransportFields[field].counter).get();
  }
  return values;
}

}  // namespace

std::uint64_t CounterValues::get(Counter EngineCounters::*counter) const {
  for (std::size_t field = 0; field < kCounterFields.size(); ++field)
    if (kCounterFields[field].counter == counter) return of_engine[field];
  return 0;
}

std::uint64_t CounterValues::get(fabric::TransportKind kind,
                                 Counter EngineCounters::PerTransport::*counter) const {
  for (std::size_t row = 0; row < kCountedTransports.size(); ++row)
    for (std::size_t field = 0; field < kTransportFields.size(); ++field)
      if (kCountedTransports[row] == kind && kTransportFields[field].counter == counter)
        return of_transport[row][field];
  return 0;
}

std::uint64_t CounterValues::total(Counter EngineCounters::PerTransport::*counter) const {
  std::uint64_t sum = 0;
  for (const fabric::TransportKind kind : kCountedTransports) sum += get(kind, counter);
  return sum;
}

void CounterValues::add(const CounterValues& other, bool gauges) {
  for (std::size_t field = 0; field < kCounterFields.size(); ++field)
    if (gauges || !kCounterFields[field].gauge) of_engine[field] += other.of_engine[field];
  for (std::size_t kind = 0; kind < kCountedTransports.size(); ++kind)
    for (std::size_t field = 0; field < kTransportFields.size(); ++field)
      if (gauges || !kTransportFields[field].gauge)
        of_transport[kind][field] += other.of_transport[kind][field];
}

CounterValues CounterValues::since(const CounterValues& before) const {
  const auto difference = [](std::uint64_t now, std::uint64_t then) {
    return now >= then ? now - then : now;
  };
  CounterValues result = *this;
  for (std::size_t field = 0; field < kCounterFields.size(); ++field)
    if (!kCounterFields[field].gauge)
      result.of_engine[field] = difference(of_engine[field], before.of_engine[field]);
  for (std::size_t kind = 0; kind < kCountedTransports.size(); ++kind)
    for (std::size_t field = 0; field < kTransportFields.size(); ++field)
      if (!kTransportFields[field].gauge)
        result.of_transport[kind][field] =
            difference(of_transport[kind][field], before.of_transport[kind][field]);
  return result;
}

std::string ProcessCounters::transports() const {
  std::string text;
  for (const fabric::TransportKind kind : kCountedTransports) {
    if (totals.get(kind, &EngineCounters::PerTransport::connections) == 0) continue;
    if (!text.empty()) text += ",";
    text += fabric::to_string(kind);
  }
  return text;
}

Result<ProcessCounters> read_counters(const std::filesystem::path& file) {
  const auto mapping = Mapping::open(file);
  if (!mapping) return tl::make_unexpected(mapping.error());
  const CountersPage& page = mapping->page();
  if (page.magic != CountersPage::kMagic)
    return fail(Errc::protocol_error, file.string() + " is no counters file");
  if (page.version != CountersPage::kVersion)
    return fail(Errc::version_mismatch, file.string() + " has counters of version " +
                                            std::to_string(page.version) + ", this program reads " +
                                            std::to_string(CountersPage::kVersion));
  ProcessCounters result;
  result.process = page.process;
  result.pid = page.pid;
  result.program = text_of(page.program);
  result.node = text_of(page.node);
  result.started = std::chrono::system_clock::time_point(
      std::chrono::duration_cast<std::chrono::system_clock::duration>(
          std::chrono::nanoseconds(page.start_time_ns)));
  result.alive = ::kill(static_cast<pid_t>(page.pid), 0) == 0 || errno == EPERM;
  result.read_at = std::chrono::steady_clock::now();
  for (unsigned index = 0; index < CountersPage::kEngines; ++index) {
    const EngineCounters& engine = page.engines[index];
    const bool in_use = engine.in_use.get() != 0;
    CounterValues values = values_of(engine);
    // An engine that ended did its work nevertheless, but holds nothing any more.
    result.totals.add(values, in_use);
    if (in_use) result.engines.push_back({index, values});
  }
  return result;
}

Result<std::vector<ProcessCounters>> read_all_counters(const std::string& runtime_directory,
                                                       std::vector<Error>& problems) {
  const std::filesystem::path folder = std::filesystem::path(runtime_directory) / "counters";
  std::error_code error;
  std::filesystem::directory_iterator files(folder, error);
  if (error == std::errc::no_such_file_or_directory) {
    return fail(Errc::not_found,
                "there is no " + folder.string() + ": no process has counters there");
  }
  if (error) {
    const bool denied = error == std::errc::permission_denied;
    return fail(denied ? Errc::permission_denied : Errc::system,
                "cannot read " + folder.string() + ": " + error.message());
  }
  std::vector<ProcessCounters> result;
  for (; files != std::filesystem::directory_iterator(); files.increment(error)) {
    if (error) break;
    if (files->path().extension() != ".counters") continue;
    auto process = read_counters(files->path());
    if (process) {
      result.push_back(std::move(*process));
    } else if (process.error().code != Errc::not_found &&
               process.error().code != Errc::protocol_error) {
      problems.push_back(process.error());
    }
  }
  std::sort(result.begin(), result.end(), [](const auto& a, const auto& b) {
    return std::pair(a.pid, a.process) < std::pair(b.pid, b.process);
  });
  return result;
}

}  // namespace godwit::node::cli
