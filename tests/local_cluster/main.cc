// The tests, or with --worker one of the processes that they start (see Crew).
#include <gtest/gtest.h>

#include <string_view>

#include "workers.h"

int main(int argc, char** argv) {
  if (argc > 2 && std::string_view(argv[1]) == "--worker") return run_worker(argv[2]);
  ::testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
