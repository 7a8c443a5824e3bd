// The agent's configuration: a TOML file, over it the flags of the command line, under both the
// defaults. Values; no thread of their own. docs/cluster.md lists the keys.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "godwit/error.h"

namespace godwit::node {

/// What a file or a command line may set; anything left out has its default.
struct ConfigSettings {
  std::optional<std::string> node;
  std::optional<std::string> run;
  std::optional<std::string> state;
  std::optional<std::string> directory;
  std::optional<std::string> directory_credentials;  // "user:password"
  std::optional<std::string> session_timeout;
  std::optional<std::string> listen_host;
  std::optional<std::int64_t> agent_port;
  std::optional<std::int64_t> nice;
  std::optional<std::string> keys;
  std::optional<std::string> log_level;
  std::optional<std::string> reattach_grace;
  std::optional<std::string> node_grace;
  std::vector<std::string> create_dcs;
  std::optional<std::string> prepare_limit;                  // [moves] (file only)
  std::optional<std::string> blackout_limit;                 // [moves] (file only)
  std::map<std::string, std::vector<std::string>> programs;  // commands, by program (file only)

  /// What `above` sets wins.
  void overlay(const ConfigSettings& above);
};

struct DirectorySpec {
  enum class Kind : std::uint8_t { local, zookeeper };
  Kind kind = Kind::local;
  std::string location;  // a folder, or "HOST:PORT,...[/chroot]"
  std::string to_string() const;
};

struct Config {
  std::string node;
  std::string run;
  std::string state;
  DirectorySpec directory;
  std::string directory_credentials;
  std::chrono::milliseconds session_timeout{};
  std::string listen_host;
  std::uint16_t agent_port = 0;  // 0: any free one
  int nice = 0;                  // of the agent
  int programs_nice = 0;         // of what it starts
  std::string keys;
  std::string log_level;
  std::chrono::milliseconds reattach_grace{};  // for processes after a restart of the agent
  std::chrono::milliseconds node_grace{};      // for a node whose record vanished
  std::chrono::milliseconds prepare_limit{};   // of a move, until it is prepared and copied
  std::chrono::milliseconds blackout_limit{};  // of a move, from the intent to the commit
  std::vector<std::string> create_dcs;
  std::map<std::string, std::vector<std::string>> programs;  // commands, by program
};

/// Reads a file's text. Errors name `source`, line and column: invalid_argument.
Result<ConfigSettings> parse_config(std::string_view text, std::string_view source);

/// Reads a file; also an error of the file system.
Result<ConfigSettings> load_config(const std::string& path);

/// Checks every value and fills in the defaults.
Result<Config> make_config(const ConfigSettings& settings);

/// "600ms", "6s", "2m".
Result<std::chrono::milliseconds> parse_duration(std::string_view what, std::string_view text);

/// "local:PATH" or "zookeeper:HOST:PORT[,HOST:PORT...][/chroot]".
Result<DirectorySpec> parse_directory(std::string_view text);

}  // namespace godwit::node
