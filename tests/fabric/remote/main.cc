// The tests of the transports between two processes. The same program is their peer:
//
//   godwit_remote_conformance --serve HOST:PORT    on the other machine; prints where it listens
//   GODWIT_FABRIC_PEER=HOST:PORT godwit_remote_conformance
//
// Without GODWIT_FABRIC_PEER the tests start their peers on this machine.
#include <gtest/gtest.h>

#include <cstdio>
#include <string_view>

#include "fabric/remote/server.h"
#include "fabric/remote/session.h"

namespace {

using namespace godwit::fabric::testing;

int run_session(std::string_view control) {
  const auto descriptor = number_of<int>(control);
  if (!descriptor) return 2;
  Session(*descriptor).run();
  // What TestEngine checks counts here as well.
  return ::testing::UnitTest::GetInstance()->ad_hoc_test_result().Failed() ? 1 : 0;
}

int run_server(const char* where) {
  const auto served = serve(where);
  if (served) return 0;
  std::fprintf(stderr, "%s\n", served.error().to_string().c_str());
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  const std::string_view mode = argc > 1 ? argv[1] : "";
  if (mode == "--session" && argc == 3) return run_session(argv[2]);
  if (mode == "--serve" && argc == 3) return run_server(argv[2]);
  if (argc > 1) {
    std::fprintf(stderr, "usage: %s [--serve HOST:PORT]\n", argv[0]);
    return 2;
  }
  return RUN_ALL_TESTS();
}
