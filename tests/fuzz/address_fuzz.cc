// The address blob: any bytes give an address that keeps every limit, or a protocol_error.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "godwit/fabric/address.h"

using godwit::fabric::EngineAddress;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view blob(reinterpret_cast<const char*>(data), size);
  const auto address = EngineAddress::parse(blob);
  if (!address) {
    if (address.error().code != godwit::Errc::protocol_error) std::abort();
    return 0;
  }
  // What was accepted must survive being told to the next one.
  const auto again = EngineAddress::parse(address->serialize());
  if (!again || *again != *address) std::abort();
  return 0;
}
