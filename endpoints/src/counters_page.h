// The mapped counters file of this process (counters.h), from the writer's side.
//
// Owned by the Process, which outlives its engines. Any thread.
#pragma once

#include <memory>
#include <mutex>
#include <string>

#include "godwit/counters.h"
#include "godwit/error.h"

namespace godwit {

class CountersFile {
 public:
  /// Makes `<runtime directory>/counters/<stem>.counters`, mode 0600, and maps it.
  static Result<std::unique_ptr<CountersFile>> create(const std::string& runtime_directory,
                                                      std::uint64_t process,
                                                      const std::string& node,
                                                      const std::string& program);
  ~CountersFile();
  CountersFile(const CountersFile&) = delete;
  CountersFile& operator=(const CountersFile&) = delete;

  /// A free block; null when all are taken (the engine then counts for itself).
  EngineCounters* take_block();

 private:
  CountersFile(std::string path, CountersPage* page) : path_(std::move(path)), page_(page) {}
  std::string path_;
  CountersPage* page_;
  std::mutex mutex_;
};

}  // namespace godwit
