// What the tests start as processes of nodes:
//
// echo    binds kEcho, patiently if the directory is away, says `ready`, and answers
// caller  says `ready` once kEcho has answered, then calls it again and again: `progress` counts
//         the answers; the first call without one says `stalled`, the next with one `recovered`
// owner   makes a network of hosts a and b with a program in each, says `ready` with what it has
//         made (see network_test.cc), and waits to be killed
#pragma once

#include <string>

constexpr const char* kDc = "demo";
constexpr const char* kEcho = "demo/echo";

/// The program's exit status.
int run_worker(const std::string& role);
