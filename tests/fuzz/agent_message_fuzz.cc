// The byte stream between process and agent: whatever the pieces in which bytes come, the same
// messages are cut from them, and each parses or does not.
#include <google/protobuf/stubs/logging.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "godwit/agent_protocol.h"
#include "godwit/endpoints/agent.pb.h"

namespace {

std::vector<std::string> cut(const std::uint8_t* data, std::size_t size, std::size_t piece) {
  godwit::agent_protocol::MessageReader reader;
  std::vector<std::string> messages;
  for (std::size_t at = 0; at < size; at += piece) {
    const std::size_t count = std::min(piece, size - at);
    std::memcpy(reader.prepare(count), data + at, count);
    reader.commit(count);
    while (true) {
      const auto next = reader.next();
      if (!next) return messages;
      if (!next->whole) break;
      messages.emplace_back(next->message);
    }
  }
  return messages;
}

// protobuf has a line to say of every text that is not UTF-8.
[[maybe_unused]] auto* const kSilence = google::protobuf::SetLogHandler(nullptr);

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto whole = cut(data, size, std::max<std::size_t>(size, 1));
  if (whole != cut(data, size, 1) || whole != cut(data, size, 7)) std::abort();
  for (const auto& message : whole) {
    godwit::endpoints::proto::Request request;
    request.ParseFromString(message);
    godwit::endpoints::proto::Response response;
    response.ParseFromString(message);
  }
  return 0;
}
