// The agent's configuration: any text gives settings or an error, and settings a configuration or
// an error.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "agent/config.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (const auto settings = godwit::node::parse_config(text, "fuzz.toml")) {
    [[maybe_unused]] const auto config = godwit::node::make_config(*settings);
  }
  [[maybe_unused]] const auto directory = godwit::node::parse_directory(text);
  [[maybe_unused]] const auto duration = godwit::node::parse_duration("time", text);
  return 0;
}
