#include <godwit/coord/coordinator.h>

#include <algorithm>
#include <optional>
#include <utility>

namespace godwit::coord {
namespace {

Error bad_argument(std::string message, int failed_op = -1) {
  return Error{Errc::bad_argument, std::move(message), failed_op};
}

std::string quoted(std::string_view path) {
  // A path that is refused may be huge or binary; the message must be neither.
  std::string text = "'";
  for (const char c : path.substr(0, 80)) {
    const bool printable = c >= 0x20 && c < 0x7f;
    text += printable ? c : '?';
  }
  text += path.size() > 80 ? "...'" : "'";
  return text;
}

std::size_t data_size(const WriteOp& op) {
  if (const auto* create = std::get_if<CreateOp>(&op)) return create->data.size();
  if (const auto* set = std::get_if<SetOp>(&op)) return set->data.size();
  return 0;
}

const std::string& path_of(const WriteOp& op) {
  return std::visit([](const auto& any) -> const std::string& { return any.path; }, op);
}

std::optional<Error> check_ops(const std::vector<WriteOp>& ops) {
  if (ops.empty()) return bad_argument("a multi needs at least one operation");
  if (ops.size() > kMaxMultiOps)
    return bad_argument("a multi of " + std::to_string(ops.size()) + " operations; the limit is " +
                        std::to_string(kMaxMultiOps));
  std::size_t total = 0;
  for (std::size_t i = 0; i < ops.size(); ++i) {
    const int index = static_cast<int>(i);
    const std::string& path = path_of(ops[i]);
    if (auto valid = validate_path(path); !valid) return bad_argument(valid.error().message, index);
    if (path == "/" && !std::holds_alternative<CheckOp>(ops[i]))
      return bad_argument("'/' cannot be written", index);
    const std::size_t size = data_size(ops[i]);
    if (size > kMaxRecordBytes)
      return bad_argument(quoted(path) + ": a record of " + std::to_string(size) +
                              " bytes; the limit is " + std::to_string(kMaxRecordBytes),
                          index);
    total += path.size() + size;
  }
  if (ops.size() > 1 && total > kMaxMultiBytes)
    return bad_argument("a multi of " + std::to_string(total) + " bytes; the limit is " +
                        std::to_string(kMaxMultiBytes));
  return std::nullopt;
}

}  // namespace

Result<void> validate_path(std::string_view path) {
  const auto refuse = [&](std::string_view why) {
    return fail(Errc::bad_argument, "path " + quoted(path) + " " + std::string(why));
  };
  if (path.empty()) return refuse("is empty");
  if (path.size() > kMaxPathBytes)
    return refuse("has " + std::to_string(path.size()) + " bytes; the limit is " +
                  std::to_string(kMaxPathBytes));
  if (path.front() != '/') return refuse("does not start with '/'");
  if (path == "/") return {};
  if (path.back() == '/') return refuse("ends with '/'");
  for (const char c : path)
    if (c < 0x20 || c >= 0x7f) return refuse("has a byte that is not printable ASCII");
  std::size_t begin = 1;
  while (begin <= path.size()) {
    const std::size_t end = std::min(path.find('/', begin), path.size());
    const std::string_view component = path.substr(begin, end - begin);
    if (component.empty()) return refuse("has an empty component");
    if (component == "." || component == "..") return refuse("has a component '.' or '..'");
    begin = end + 1;
  }
  return {};
}

std::string_view parent_path(std::string_view path) {
  const std::size_t slash = path.rfind('/');
  return slash == 0 || slash == std::string_view::npos ? std::string_view("/")
                                                       : path.substr(0, slash);
}

void Coordinator::multi(std::vector<WriteOp> ops, Deadline deadline,
                        Callback<std::vector<Stat>> done, WriteOn where) {
  if (auto error = check_ops(ops)) {
    post([done = std::move(done), error = std::move(*error)]() mutable {
      done(tl::unexpected<Error>(std::move(error)));
    });
    return;
  }
  start_write(std::move(ops), deadline, std::move(done), where);
}

namespace {

// A single write is a multi of one, whose error names no operation.
template <typename T>
Callback<std::vector<Stat>> of_single(Callback<T> done) {
  return [done = std::move(done)](Result<std::vector<Stat>> result) {
    if (!result) {
      result.error().failed_op = -1;
      done(tl::unexpected<Error>(std::move(result.error())));
    } else if constexpr (std::is_void_v<T>) {
      done({});
    } else {
      done(std::move(result->front()));
    }
  };
}

}  // namespace

void Coordinator::create(std::string path, std::string data, CreateMode mode, Deadline deadline,
                         Callback<Stat> done) {
  multi({CreateOp{std::move(path), std::move(data), mode}}, deadline, of_single(std::move(done)));
}

void Coordinator::set(std::string path, std::string data, Expected expected, Deadline deadline,
                      Callback<Stat> done) {
  multi({SetOp{std::move(path), std::move(data), expected}}, deadline, of_single(std::move(done)));
}

void Coordinator::remove(std::string path, Expected expected, Deadline deadline,
                         Callback<void> done) {
  multi({RemoveOp{std::move(path), expected}}, deadline, of_single<void>(std::move(done)));
}

void Coordinator::get(std::string path, Deadline deadline, Callback<Record> done, Watcher watcher) {
  if (auto valid = validate_path(path); !valid) {
    post([done = std::move(done), error = std::move(valid.error())]() mutable {
      done(tl::unexpected<Error>(std::move(error)));
    });
    return;
  }
  start_get(std::move(path), deadline, std::move(done), std::move(watcher));
}

void Coordinator::list(std::string path, Deadline deadline, Callback<Children> done,
                       Watcher watcher) {
  if (auto valid = validate_path(path); !valid) {
    post([done = std::move(done), error = std::move(valid.error())]() mutable {
      done(tl::unexpected<Error>(std::move(error)));
    });
    return;
  }
  start_list(std::move(path), deadline, std::move(done), std::move(watcher));
}

}  // namespace godwit::coord
