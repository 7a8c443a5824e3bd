#include "counters_page.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <new>

#include "godwit/agent_link.h"

namespace godwit {

Result<std::unique_ptr<CountersFile>> CountersFile::create(const std::string& runtime_directory,
                                                           std::uint64_t process,
                                                           const std::string& node,
                                                           const std::string& program) {
  const std::string directory = runtime_directory + "/counters";
  if (mkdir(directory.c_str(), 0700) != 0 && errno != EEXIST)
    return fail_errno("cannot make " + directory);
  std::string path = directory + "/" + process_file_stem(process) + ".counters";
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd < 0) return fail_errno("cannot make " + path);
  // Allocated now: a full disk is an error here and not a signal at the first store.
  const int allocated = posix_fallocate(fd, 0, sizeof(CountersPage));
  void* memory = MAP_FAILED;
  if (allocated == 0) {
    memory = mmap(nullptr, sizeof(CountersPage), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  } else {
    errno = allocated;
  }
  if (memory == MAP_FAILED) {
    auto error = fail_errno("cannot map " + path);
    ::close(fd);
    unlink(path.c_str());
    return error;
  }
  ::close(fd);
  auto* page = new (memory) CountersPage;
  page->pid = static_cast<std::uint32_t>(getpid());
  page->process = process;
  page->start_time_ns =
      static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(
                                     std::chrono::system_clock::now().time_since_epoch())
                                     .count());
  std::copy_n(program.data(), std::min(program.size(), page->program.size() - 1),
              page->program.begin());
  std::copy_n(node.data(), std::min(node.size(), page->node.size() - 1), page->node.begin());
  return std::unique_ptr<CountersFile>(new CountersFile(std::move(path), page));
}

CountersFile::~CountersFile() {
  unlink(path_.c_str());
  munmap(page_, sizeof(CountersPage));
}

EngineCounters* CountersFile::take_block() {
  const std::lock_guard lock(mutex_);
  for (EngineCounters& block : page_->engines) {
    if (block.in_use.get() != 0) continue;
    block.in_use.set(1);
    return &block;
  }
  return nullptr;
}

}  // namespace godwit
