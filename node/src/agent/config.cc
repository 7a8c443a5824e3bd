#include "agent/config.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <cstdlib>
#include <sstream>

#include <toml++/toml.h>

#include "godwit/agent_link.h"
#include "godwit/coord/names.h"

namespace godwit::node {

namespace {

using namespace std::chrono_literals;

// A larger file is a mistake, not a configuration.
constexpr std::size_t kMaxFile = 1u << 20;
// Below this a move would be given up for what a busy machine does now and then.
constexpr auto kLeastMoveLimit = 100ms;
constexpr std::array kNumberKeys = {
    std::pair{std::string_view("agent_port"), &ConfigSettings::agent_port},
    std::pair{std::string_view("nice"), &ConfigSettings::nice},
};
constexpr std::array kLogLevels = {"trace", "debug", "info", "warn", "error", "off"};

std::string place_of(std::string_view source, const toml::source_region& region) {
  return std::string(source) + ":" + std::to_string(region.begin.line) + ":" +
         std::to_string(region.begin.column) + ": ";
}

// One key of the file.
struct Key {
  std::string_view name;
  std::optional<std::string> ConfigSettings::*text;
};
constexpr std::array kTextKeys = {
    Key{"node", &ConfigSettings::node},
    Key{"run", &ConfigSettings::run},
    Key{"state", &ConfigSettings::state},
    Key{"directory", &ConfigSettings::directory},
    Key{"directory_credentials", &ConfigSettings::directory_credentials},
    Key{"session_timeout", &ConfigSettings::session_timeout},
    Key{"listen_host", &ConfigSettings::listen_host},
    Key{"keys", &ConfigSettings::keys},
    Key{"log_level", &ConfigSettings::log_level},
    Key{"reattach_grace", &ConfigSettings::reattach_grace},
    Key{"node_grace", &ConfigSettings::node_grace},
};
constexpr std::array kMoveKeys = {
    Key{"prepare_limit", &ConfigSettings::prepare_limit},
    Key{"blackout_limit", &ConfigSettings::blackout_limit},
};

// The value of a key that is no string.
tl::unexpected<Error> wants(std::string_view source, const toml::node& value, std::string_view key,
                            std::string_view what) {
  return fail(Errc::invalid_argument, place_of(source, value.source()) + std::string(key) +
                                          " must be " + std::string(what));
}

Result<std::vector<std::string>> take_strings(const toml::node& value, std::string_view source,
                                              std::string_view key) {
  const auto* list = value.as_array();
  if (list == nullptr) return wants(source, value, key, "a list of strings");
  std::vector<std::string> strings;
  for (const toml::node& entry : *list) {
    const auto* text = entry.as_string();
    if (text == nullptr) return wants(source, value, key, "a list of strings");
    strings.push_back(text->get());
  }
  return strings;
}

// [moves]
Result<void> take_moves(const toml::node& value, std::string_view source,
                        ConfigSettings& settings) {
  const auto* table = value.as_table();
  if (table == nullptr) return wants(source, value, "moves", "a table");
  for (const auto& [key, entry] : *table) {
    const std::string_view name = key.str();
    const auto found = std::find_if(kMoveKeys.begin(), kMoveKeys.end(),
                                    [&](const Key& known) { return known.name == name; });
    if (found == kMoveKeys.end()) {
      return fail(Errc::invalid_argument,
                  place_of(source, key.source()) + "unknown key '" + std::string(name) +
                      "' of moves; its keys are prepare_limit, blackout_limit");
    }
    const auto* text = entry.as_string();
    if (text == nullptr) {
      return wants(source, entry, "moves." + std::string(found->name), "a string");
    }
    settings.*(found->text) = text->get();
  }
  return {};
}

// [programs.NAME]
Result<void> take_programs(const toml::node& value, std::string_view source,
                           ConfigSettings& settings) {
  const auto* table = value.as_table();
  if (table == nullptr) return wants(source, value, "programs", "a table of programs");
  for (const auto& [name, program] : *table) {
    const std::string path = "programs." + std::string(name.str());
    const auto* keys = program.as_table();
    if (keys == nullptr) return wants(source, program, path, "a table with a command");
    for (const auto& [key, entry] : *keys) {
      if (key.str() == "command") continue;
      return fail(Errc::invalid_argument, place_of(source, key.source()) + "unknown key '" +
                                              std::string(key.str()) + "' of " + path +
                                              "; its key is command");
    }
    const toml::node* command = keys->get("command");
    if (command == nullptr) return wants(source, program, path, "a table with a command");
    auto strings = take_strings(*command, source, path + ".command");
    if (!strings) return tl::make_unexpected(std::move(strings.error()));
    settings.programs[std::string(name.str())] = std::move(*strings);
  }
  return {};
}

Result<void> take_key(const toml::key& key, const toml::node& value, std::string_view source,
                      ConfigSettings& settings) {
  const std::string_view name = key.str();
  const auto found = std::find_if(kTextKeys.begin(), kTextKeys.end(),
                                  [&](const Key& known) { return known.name == name; });
  if (found != kTextKeys.end()) {
    const auto* text = value.as_string();
    if (text == nullptr) return wants(source, value, name, "a string");
    settings.*(found->text) = text->get();
    return {};
  }
  for (const auto& [known, setting] : kNumberKeys) {
    if (name != known) continue;
    const auto* number = value.as_integer();
    if (number == nullptr) return wants(source, value, name, "a number");
    settings.*setting = number->get();
    return {};
  }
  if (name == "create_dcs") {
    auto strings = take_strings(value, source, name);
    if (!strings) return tl::make_unexpected(std::move(strings.error()));
    settings.create_dcs = std::move(*strings);
    return {};
  }
  if (name == "moves") return take_moves(value, source, settings);
  if (name == "programs") return take_programs(value, source, settings);
  std::string known = "agent_port, create_dcs, moves, nice, programs";
  for (const Key& each : kTextKeys) known += ", " + std::string(each.name);
  return fail(Errc::invalid_argument, place_of(source, key.source()) + "unknown key '" +
                                          std::string(name) + "'; the keys are " + known);
}

Result<void> check_path(std::string_view what, const std::string& path) {
  if (path.empty()) return fail(Errc::invalid_argument, std::string(what) + " is empty");
  if (path.find('\0') != std::string::npos) {
    return fail(Errc::invalid_argument, std::string(what) + " holds a NUL byte");
  }
  return {};
}

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::string() : std::string(value);
}

std::string default_state() {
  // systemd sets it for StateDirectory=, possibly to several.
  if (const std::string given = environment("STATE_DIRECTORY"); !given.empty()) {
    return given.substr(0, given.find(':'));
  }
  if (::geteuid() == 0) return "/var/lib/godwit";
  if (const std::string xdg = environment("XDG_STATE_HOME"); !xdg.empty()) return xdg + "/godwit";
  if (const std::string home = environment("HOME"); !home.empty()) {
    return home + "/.local/state/godwit";
  }
  return default_runtime_directory() + "/state";
}

std::string host_name() {
  std::array<char, 256> name{};
  if (::gethostname(name.data(), name.size() - 1) != 0 || name[0] == '\0') return "localhost";
  return name.data();
}

Result<void> check_host(const std::string& host) {
  std::array<unsigned char, sizeof(in6_addr)> address;
  const bool numeric = ::inet_pton(AF_INET, host.c_str(), address.data()) == 1 ||
                       ::inet_pton(AF_INET6, host.c_str(), address.data()) == 1;
  if (numeric && host != "0.0.0.0" && host != "::") return {};
  return fail(
      Errc::invalid_argument,
      "listen_host is '" + host +
          "': it must be the numeric IPv4 or IPv6 address at which other nodes reach this one");
}

Result<void> check_program(const std::string& name, const std::vector<std::string>& command) {
  auto valid = coord::validate_name("a program's name", name);
  if (!valid) return fail(Errc::invalid_argument, valid.error().message);
  const std::string what = "the command of program '" + name + "'";
  if (command.empty()) return fail(Errc::invalid_argument, what + " is empty");
  // It is not searched for: the agent's PATH is not what its administrator sees.
  if (!command.front().starts_with('/')) {
    return fail(Errc::invalid_argument,
                what + " is '" + command.front() + "': it must begin with '/'");
  }
  for (const std::string& argument : command) {
    if (argument.find('\0') != std::string::npos) {
      return fail(Errc::invalid_argument, what + " holds a NUL byte");
    }
  }
  return {};
}

Result<std::chrono::milliseconds> bounded(std::string_view what,
                                          const std::optional<std::string>& text,
                                          std::chrono::milliseconds otherwise,
                                          std::chrono::milliseconds least,
                                          std::chrono::milliseconds most) {
  if (!text) return otherwise;
  auto time = parse_duration(what, *text);
  if (!time) return time;
  if (*time < least || *time > most) {
    return fail(Errc::invalid_argument, std::string(what) + " is '" + *text +
                                            "': it must be from " + std::to_string(least.count()) +
                                            "ms to " + std::to_string(most.count()) + "ms");
  }
  return time;
}

}  // namespace

void ConfigSettings::overlay(const ConfigSettings& above) {
  const auto take = [&](const Key& key) {
    if (above.*(key.text)) this->*(key.text) = above.*(key.text);
  };
  std::for_each(kTextKeys.begin(), kTextKeys.end(), take);
  std::for_each(kMoveKeys.begin(), kMoveKeys.end(), take);
  if (above.agent_port) agent_port = above.agent_port;
  if (above.nice) nice = above.nice;
  if (!above.create_dcs.empty()) create_dcs = above.create_dcs;
  for (const auto& [name, command] : above.programs) programs[name] = command;
}

std::string DirectorySpec::to_string() const {
  return (kind == Kind::local ? "local:" : "zookeeper:") + location;
}

Result<ConfigSettings> parse_config(std::string_view text, std::string_view source) {
  ConfigSettings settings;
  try {
    const toml::table table = toml::parse(text, source);
    for (const auto& [key, value] : table) {
      if (auto taken = take_key(key, value, source, settings); !taken) {
        return tl::make_unexpected(std::move(taken.error()));
      }
    }
  } catch (const toml::parse_error& error) {
    return fail(Errc::invalid_argument,
                place_of(source, error.source()) + std::string(error.description()));
  }
  return settings;
}

Result<ConfigSettings> load_config(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return fail_errno("cannot open the configuration " + path);
  struct Closer {
    int fd;
    ~Closer() { ::close(fd); }
  } closer{fd};
  struct stat status {};
  if (::fstat(fd, &status) != 0) return fail_errno("cannot read the configuration " + path);
  if (!S_ISREG(status.st_mode)) {
    return fail(Errc::invalid_argument, "the configuration " + path + " is not a regular file");
  }
  std::string text(kMaxFile + 1, '\0');
  std::size_t size = 0;
  while (size < text.size()) {
    const ssize_t got = ::read(fd, text.data() + size, text.size() - size);
    if (got < 0) return fail_errno("cannot read the configuration " + path);
    if (got == 0) break;
    size += static_cast<std::size_t>(got);
  }
  if (size > kMaxFile) {
    return fail(Errc::too_large, "the configuration " + path + " is larger than 1 MiB");
  }
  text.resize(size);
  return parse_config(text, path);
}

Result<std::chrono::milliseconds> parse_duration(std::string_view what, std::string_view text) {
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const std::string_view unit(end, static_cast<std::size_t>(text.data() + text.size() - end));
  const std::int64_t scale = unit == "ms" ? 1 : unit == "s" ? 1000 : unit == "m" ? 60'000 : 0;
  if (error != std::errc() || scale == 0 || number < 0 || number > 1'000'000'000) {
    return fail(Errc::invalid_argument, std::string(what) + " is '" + std::string(text) +
                                            "': write a time as 600ms, 6s or 2m");
  }
  return std::chrono::milliseconds(number * scale);
}

Result<DirectorySpec> parse_directory(std::string_view text) {
  const auto bad = [&](std::string_view why) {
    return fail(Errc::invalid_argument,
                "directory is '" + std::string(text) + "': " + std::string(why) +
                    "; write local:PATH or zookeeper:HOST:PORT[,HOST:PORT...][/chroot]");
  };
  DirectorySpec spec;
  if (text.starts_with("local:")) {
    spec.location = text.substr(6);
    if (spec.location.empty()) return bad("the path is missing");
    if (spec.location.find('\0') != std::string::npos) return bad("the path holds a NUL byte");
    return spec;
  }
  if (!text.starts_with("zookeeper:")) return bad("its kind is unknown");
  spec.kind = DirectorySpec::Kind::zookeeper;
  spec.location = text.substr(10);
  std::string_view servers = std::string_view(spec.location).substr(0, spec.location.find('/'));
  while (true) {
    const std::string_view server = servers.substr(0, servers.find(','));
    const auto colon = server.rfind(':');
    if (colon == std::string_view::npos || colon == 0) return bad("a server needs HOST:PORT");
    unsigned port = 0;
    const std::string_view digits = server.substr(colon + 1);
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), port);
    if (error != std::errc() || end != digits.data() + digits.size() || port == 0 || port > 65535) {
      return bad("a port must be 1 to 65535");
    }
    const bool odd = std::any_of(server.begin(), server.end(),
                                 [](unsigned char c) { return std::isgraph(c) == 0; });
    if (odd) return bad("a host holds odd characters");
    if (server.size() == servers.size()) break;
    servers.remove_prefix(server.size() + 1);
  }
  return spec;
}

Result<Config> make_config(const ConfigSettings& settings) {
  Config config;
  config.node = settings.node.value_or(host_name());
  if (auto valid = coord::validate_name("the node's name", config.node); !valid) {
    return fail(Errc::invalid_argument, valid.error().message);
  }
  config.run = settings.run.value_or(default_runtime_directory());
  config.state = settings.state.value_or(default_state());
  config.keys = settings.keys.value_or(config.state + "/keys");
  for (const auto& [what, path] : {std::pair("run", &config.run), std::pair("state", &config.state),
                                   std::pair("keys", &config.keys)}) {
    if (auto valid = check_path(what, *path); !valid) {
      return tl::make_unexpected(std::move(valid.error()));
    }
  }
  auto directory =
      parse_directory(settings.directory.value_or("local:" + config.state + "/directory"));
  if (!directory) return tl::make_unexpected(std::move(directory.error()));
  config.directory = std::move(*directory);
  config.directory_credentials = settings.directory_credentials.value_or("");

  const bool local = config.directory.kind == DirectorySpec::Kind::local;
  const auto session =
      bounded("session_timeout", settings.session_timeout, local ? 600ms : 6000ms, 100ms, 60s);
  if (!session) return tl::make_unexpected(session.error());
  config.session_timeout = *session;
  const auto reattach = bounded("reattach_grace", settings.reattach_grace, 2s, 0ms, 10min);
  if (!reattach) return tl::make_unexpected(reattach.error());
  config.reattach_grace = *reattach;
  const auto grace = bounded("node_grace", settings.node_grace, 500ms, 0ms, 10min);
  if (!grace) return tl::make_unexpected(grace.error());
  config.node_grace = *grace;
  const auto prepare =
      bounded("moves.prepare_limit", settings.prepare_limit, 30s, kLeastMoveLimit, 24h);
  if (!prepare) return tl::make_unexpected(prepare.error());
  config.prepare_limit = *prepare;
  const auto blackout =
      bounded("moves.blackout_limit", settings.blackout_limit, 10s, kLeastMoveLimit, 10min);
  if (!blackout) return tl::make_unexpected(blackout.error());
  config.blackout_limit = *blackout;

  config.listen_host = settings.listen_host.value_or("127.0.0.1");
  if (auto valid = check_host(config.listen_host); !valid) {
    return tl::make_unexpected(std::move(valid.error()));
  }
  const std::int64_t port = settings.agent_port.value_or(0);
  if (port < 0 || port > 65535) {
    return fail(Errc::invalid_argument,
                "agent_port is " + std::to_string(port) + ": it must be 0 (any) to 65535");
  }
  config.agent_port = static_cast<std::uint16_t>(port);
  const std::int64_t nice = settings.nice.value_or(-10);
  if (nice < -20 || nice > 19) {
    return fail(Errc::invalid_argument,
                "nice is " + std::to_string(nice) + ": it must be -20 (first) to 19 (last)");
  }
  config.nice = static_cast<int>(nice);
  config.log_level = settings.log_level.value_or("info");
  if (std::find(kLogLevels.begin(), kLogLevels.end(), config.log_level) == kLogLevels.end()) {
    return fail(Errc::invalid_argument, "log_level is '" + config.log_level +
                                            "': it must be trace, debug, info, warn, error or off");
  }
  for (const std::string& dc : settings.create_dcs) {
    auto valid = coord::validate_name("a DC's name", dc);
    if (!valid) return fail(Errc::invalid_argument, valid.error().message);
    if (dc.find('/') != std::string::npos) {
      return fail(Errc::invalid_argument, "the DC's name '" + dc + "' holds a '/'");
    }
  }
  config.create_dcs = settings.create_dcs;
  for (const auto& [name, command] : settings.programs) {
    if (auto valid = check_program(name, command); !valid) {
      return tl::make_unexpected(std::move(valid.error()));
    }
  }
  config.programs = settings.programs;
  return config;
}

}  // namespace godwit::node
