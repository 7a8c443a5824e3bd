// A user's program: every installed public header together, and a call into the library.
#include <cstdio>

#include "all_headers.h"

int main() {
  const auto name = godwit::EndpointName::parse("demo/echo");
  if (!name || name->dc != "demo" || name->name != "echo") {
    std::fprintf(stderr, "the installed library does not parse a name\n");
    return 1;
  }
  return 0;
}
