#include "godwit/agent_protocol.h"

#include <algorithm>
#include <cstring>

namespace godwit::agent_protocol {

namespace {
constexpr std::size_t kLength = 4;
constexpr std::size_t kShrinkAbove = 1u << 20;
}  // namespace

char* MessageReader::prepare(std::size_t size) {
  if (begin_ > 0) {
    std::memmove(bytes_.data(), bytes_.data() + begin_, end_ - begin_);
    end_ -= begin_;
    begin_ = 0;
  }
  // One large batch must not hold its memory for the rest of an idle connection's life.
  if (end_ == 0 && bytes_.capacity() > kShrinkAbove) bytes_ = std::string();
  if (bytes_.size() < end_ + size) bytes_.resize(std::max(end_ + size, 2 * bytes_.size()));
  return bytes_.data() + end_;
}

void MessageReader::commit(std::size_t size) {
  end_ += size;
}

Result<MessageReader::Next> MessageReader::next() {
  const std::size_t available = end_ - begin_;
  if (available < kLength) return Next{};
  std::size_t length = 0;
  for (std::size_t byte = 0; byte < kLength; ++byte) {
    length |= std::size_t{static_cast<unsigned char>(bytes_[begin_ + byte])} << (8 * byte);
  }
  if (length > kMaxMessage) {
    return fail(Errc::protocol_error, "a message of " + std::to_string(length) +
                                          " bytes is announced; the limit is " +
                                          std::to_string(kMaxMessage));
  }
  if (available < kLength + length) return Next{};
  const Next next{true, std::string_view(bytes_).substr(begin_ + kLength, length)};
  begin_ += kLength + length;
  return next;
}

}  // namespace godwit::agent_protocol
