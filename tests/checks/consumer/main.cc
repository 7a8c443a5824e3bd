// A user's program: every installed public header together, and a call into the library.
#include "all_headers.h"

int main() {
  return 0;
}
