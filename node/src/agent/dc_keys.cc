#include "agent/dc_keys.h"

#include <fcntl.h>
#include <sodium.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <utility>

#include "agent/run_directory.h"
#include "godwit/coord/names.h"

namespace godwit::node {

namespace {
constexpr std::size_t kHexDigits = 64;
constexpr std::size_t kIdBytes = 16;
constexpr std::size_t kLongestFileName = 200;
}  // namespace

Result<DcKeys> DcKeys::open(std::string folder) {
  if (::sodium_init() < 0) return fail(Errc::system, "libsodium cannot be initialised");
  if (auto made = make_private_directory(folder); !made) {
    return tl::make_unexpected(std::move(made.error()));
  }
  struct stat status {};
  if (::stat(folder.c_str(), &status) != 0) return fail_errno("cannot look at " + folder);
  if (!S_ISDIR(status.st_mode) || (status.st_mode & 0077) != 0) {
    return fail(Errc::invalid_argument,
                "the key directory " + folder +
                    " must be a folder that only its owner can reach: chmod 700 " + folder);
  }
  return DcKeys(std::move(folder));
}

std::string DcKeys::path_of(std::string_view dc) const {
  std::string name = coord::encode_name(dc);
  if (name.size() > kLongestFileName) {
    // Encoding can triple a name; '!' never comes out of it, so the two forms do not collide.
    fabric::DcKey hash;
    ::crypto_generichash(hash.data(), hash.size(),
                         reinterpret_cast<const unsigned char*>(dc.data()), dc.size(), nullptr, 0);
    name = "!" + to_hex(hash);
  }
  return folder_ + "/" + name + ".key";
}

Result<fabric::DcKey> DcKeys::load(std::string_view dc) const {
  const std::string path = path_of(dc);
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
  if (fd < 0) {
    if (errno != ENOENT) return fail_errno("cannot open the key " + path);
    return fail(Errc::not_found,
                "this node has no key of the DC " + std::string(dc) +
                    ": export it on a node that has, and import it here (godwit dc key)");
  }
  std::array<char, kHexDigits + 2> text{};
  const ssize_t got = ::read(fd, text.data(), text.size());
  ::close(fd);
  if (got < 0) return fail_errno("cannot read the key " + path);
  std::string_view digits(text.data(), static_cast<std::size_t>(got));
  if (digits.ends_with('\n')) digits.remove_suffix(1);
  auto key = from_hex(digits);
  if (!key) key.error().message = "the key file " + path + " is damaged: " + key.error().message;
  return key;
}

Result<std::string> DcKeys::write_aside(std::string_view dc, const fabric::DcKey& key) const {
  std::string path = path_of(dc) + ".XXXXXX";
  const int fd = ::mkostemp(path.data(), O_CLOEXEC);  // mode 0600
  if (fd < 0) return fail_errno("cannot make a file in " + folder_);
  const std::string text = to_hex(key) + "\n";
  const bool written = ::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size()) &&
                       ::fsync(fd) == 0;
  if (!written) {
    auto error = fail_errno("cannot write the key " + path);
    ::close(fd);
    ::unlink(path.c_str());
    return error;
  }
  ::close(fd);
  return path;
}

Result<fabric::DcKey> DcKeys::load_or_make(std::string_view dc) const {
  auto present = load(dc);
  if (present || present.error().code != Errc::not_found) return present;
  fabric::DcKey key;
  ::randombytes_buf(key.data(), key.size());
  auto aside = write_aside(dc, key);
  if (!aside) return tl::make_unexpected(std::move(aside.error()));
  // A link never replaces: of two agents that make the key at once, both use the first one's.
  const bool linked = ::link(aside->c_str(), path_of(dc).c_str()) == 0 || errno == EEXIST;
  auto result =
      linked ? Result<void>() : Result<void>(fail_errno("cannot make the key " + path_of(dc)));
  ::unlink(aside->c_str());
  if (!result) return tl::make_unexpected(std::move(result.error()));
  return load(dc);
}

Result<void> DcKeys::store(std::string_view dc, const fabric::DcKey& key) const {
  auto aside = write_aside(dc, key);
  if (!aside) return tl::make_unexpected(std::move(aside.error()));
  if (::rename(aside->c_str(), path_of(dc).c_str()) == 0) return {};
  auto error = fail_errno("cannot write the key " + path_of(dc));
  ::unlink(aside->c_str());
  return error;
}

void DcKeys::remove(std::string_view dc) const {
  ::unlink(path_of(dc).c_str());
}

std::string DcKeys::id_of(const fabric::DcKey& key) {
  std::array<unsigned char, kIdBytes> hash;
  ::crypto_generichash(hash.data(), hash.size(), key.data(), key.size(), nullptr, 0);
  std::string text(2 * kIdBytes + 1, '\0');
  ::sodium_bin2hex(text.data(), text.size(), hash.data(), hash.size());
  text.pop_back();
  return text;
}

std::string DcKeys::to_hex(const fabric::DcKey& key) {
  std::string text(kHexDigits + 1, '\0');
  ::sodium_bin2hex(text.data(), text.size(), key.data(), key.size());
  text.pop_back();
  return text;
}

Result<fabric::DcKey> DcKeys::from_hex(std::string_view text) {
  fabric::DcKey key;
  std::size_t size = 0;
  const char* end = nullptr;
  if (text.size() != kHexDigits ||
      ::sodium_hex2bin(key.data(), key.size(), text.data(), text.size(), nullptr, &size, &end) !=
          0 ||
      size != key.size() || end != text.data() + text.size()) {
    return fail(Errc::invalid_argument, "a key is 64 hexadecimal digits");
  }
  return key;
}

}  // namespace godwit::node
