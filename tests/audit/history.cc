#include "history.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>

namespace audit {

namespace {

constexpr std::uint64_t kMagic = 0x3154495541445747u;      // "GWDAUIT1"
constexpr std::size_t kFileBytes = std::size_t{96} << 20;  // at most
// The file grows by so much at a time: one that has to be fetched from another node is about as
// large as what was written.
constexpr std::size_t kGrowth = std::size_t{256} << 10;

// As it stands in the file. A run grows by one store of its count, so a process that is killed
// leaves each fact whole or absent.
struct StoredRun {
  std::uint64_t first;
  std::uint32_t count;
  std::uint16_t other;
  std::uint8_t stream;
  std::uint8_t unused;
};
static_assert(sizeof(StoredRun) == 16);

struct FileHead {
  std::uint64_t magic;
  std::uint64_t runs;
  std::uint32_t clean;
  std::uint16_t worker;
  std::uint16_t actor;
  std::uint64_t unused;
};
static_assert(sizeof(FileHead) == 32);

}  // namespace

struct HistoryWriter::File {
  FileHead head;
  StoredRun run[(kFileBytes - sizeof(FileHead)) / sizeof(StoredRun)];
};

std::span<const Run> History::of(Stream stream, std::uint16_t other) const {
  const auto found = runs.find({stream, other});
  return found == runs.end() ? std::span<const Run>() : std::span<const Run>(found->second);
}

HistoryWriter::HistoryWriter(int fd, File* file)
    : fd_(fd), file_(file), last_(kStreams * kOthers) {}

HistoryWriter::HistoryWriter(HistoryWriter&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)),
      file_(std::exchange(other.file_, nullptr)),
      room_(other.room_),
      last_(std::move(other.last_)) {}

HistoryWriter::~HistoryWriter() {
  if (file_ != nullptr) ::munmap(file_, sizeof(File));
  if (fd_ >= 0) ::close(fd_);
}

bool HistoryWriter::grow() {
  const std::size_t bytes =
      std::min(sizeof(FileHead) + room_ * sizeof(StoredRun) + kGrowth, sizeof(File));
  const std::size_t room = (bytes - sizeof(FileHead)) / sizeof(StoredRun);
  if (room == room_ || ::ftruncate(fd_, static_cast<off_t>(bytes)) != 0) return false;
  room_ = room;
  return true;
}

Result<HistoryWriter> HistoryWriter::create(const std::string& path, std::uint16_t worker,
                                            std::uint16_t actor) {
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd < 0) return godwit::fail_errno("cannot make " + path);
  void* memory = ::mmap(nullptr, sizeof(File), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  HistoryWriter writer(fd, memory == MAP_FAILED ? nullptr : static_cast<File*>(memory));
  if (writer.file_ == nullptr || !writer.grow()) return godwit::fail_errno("cannot map " + path);
  writer.file_->head.worker = worker;
  writer.file_->head.actor = actor;
  writer.file_->head.magic = kMagic;
  return writer;
}

bool HistoryWriter::add(Stream stream, std::uint16_t other, std::uint64_t number) {
  if (other >= kOthers) return false;
  std::uint32_t& last = last_[static_cast<std::size_t>(stream) * kOthers + other];
  if (last != 0) {
    StoredRun& run = file_->run[last - 1];
    if (run.first + run.count == number && run.count != UINT32_MAX) {
      ++run.count;
      return true;
    }
  }
  if (file_->head.runs == room_ && !grow()) return false;
  file_->run[file_->head.runs] = {number, 1, other, static_cast<std::uint8_t>(stream), 0};
  // The compiler must not let the count of runs overtake the run.
  std::atomic_signal_fence(std::memory_order_release);
  last = static_cast<std::uint32_t>(++file_->head.runs);
  return true;
}

void HistoryWriter::set_clean() {
  file_->head.clean = 1;
}

Result<History> read_history(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return godwit::fail_errno("cannot open " + path);
  FileHead head{};
  const bool whole = ::pread(fd, &head, sizeof head, 0) == static_cast<ssize_t>(sizeof head);
  if (whole && head.magic == 0) {
    ::close(fd);
    return godwit::fail(godwit::Errc::not_found, path + " was never begun");
  }
  if (!whole || head.magic != kMagic || head.runs > kFileBytes / sizeof(StoredRun)) {
    ::close(fd);
    return godwit::fail(godwit::Errc::protocol_error, path + " is no history");
  }
  History history;
  history.worker = head.worker;
  history.actor = head.actor;
  history.clean = head.clean != 0;
  std::vector<StoredRun> stored(head.runs);
  std::size_t done = 0;
  const std::size_t size = head.runs * sizeof(StoredRun);
  while (done < size) {
    const ssize_t got = ::pread(fd, reinterpret_cast<char*>(stored.data()) + done, size - done,
                                static_cast<off_t>(sizeof head + done));
    if (got <= 0) break;
    done += static_cast<std::size_t>(got);
  }
  ::close(fd);
  if (done < size) return godwit::fail(godwit::Errc::protocol_error, path + " is cut short");
  for (const StoredRun& run : stored) {
    if (run.stream >= kStreams) {
      return godwit::fail(godwit::Errc::protocol_error, path + " has an unknown stream");
    }
    history.runs[{static_cast<Stream>(run.stream), run.other}].push_back({run.first, run.count});
  }
  return history;
}

}  // namespace audit
