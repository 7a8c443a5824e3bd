#include "options.h"

namespace audit {

std::string worker_name(unsigned worker) {
  return std::string(kDc) + "/worker-" + std::to_string(worker);
}

}  // namespace audit
