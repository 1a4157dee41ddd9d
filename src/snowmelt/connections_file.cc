#include "snowmelt/connections_file.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cstdlib>
#include <string_view>
#include <vector>

#include "snowmelt/error.h"
#include "snowmelt/toml_file.h"

namespace snowmelt {
namespace {

namespace fs = std::filesystem;

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::string{} : std::string(value);
}

// "~" is not the shell's here: these variables are often set where no shell expands them.
fs::path expanded(const std::string& path) {
  if (path == "~" || path.starts_with("~/")) return fs::path(variable("HOME") + path.substr(1));
  return path;
}

bool is_there(const fs::path& path) {
  std::error_code unreadable;
  return fs::exists(path, unreadable);
}

struct ConnectionFiles {
  toml::table connections;  // by name
  std::string file;         // where they stand; empty: there are none
  std::string default_name;
};

// As in Snowflake's tools connections.toml, where it exists, stands for all of config.toml's [connections].
ConnectionFiles read_files() {
  const fs::path home = snowflake_home();
  ConnectionFiles files;
  if (const fs::path path = home / "config.toml"; is_there(path)) {
    toml::table root = read_toml(path);
    files.default_name = root["default_connection_name"].value_or(std::string{});
    if (toml::node* node = root.get("connections")) {
      as_table(path.string(), *node, "connections");
      files.connections = std::move(*node->as_table());
      files.file = path.string();
    }
  }
  if (const fs::path path = home / "connections.toml"; is_there(path)) {
    files.connections = read_toml(path);
    files.file = path.string();
  }
  return files;
}

NamedConnection pick(ConnectionFiles& files, const std::string& name) {
  if (toml::node* node = files.connections.get(name)) {
    as_table(files.file, *node, name);
    return {name, files.file, std::move(*node->as_table())};  // a copy would lose the lines
  }
  if (files.file.empty()) {
    throw ConfigurationError("config.unknown_connection", fmt::format("there is no connection \"{}\"", name),
                             {.where = snowflake_home().string(), .hint = "neither connections.toml nor config.toml lists any"});
  }
  std::vector<std::string_view> known;
  for (const auto& [key, value] : files.connections) {
    if (value.is_table()) known.push_back(key.str());
  }
  throw ConfigurationError(
      "config.unknown_connection", fmt::format("there is no connection \"{}\"", name),
      {.where = files.file, .hint = known.empty() ? "it lists none" : fmt::format("it lists {}", fmt::join(known, ", "))});
}

}  // namespace

fs::path snowflake_home() {
  const std::string named = variable("SNOWFLAKE_HOME");
  const fs::path own = expanded(named.empty() ? "~/.snowflake" : named);
  std::error_code unreadable;
  if (fs::is_directory(own, unreadable)) return own;
  const std::string configuration = variable("XDG_CONFIG_HOME");
  return expanded(configuration.empty() ? "~/.config" : configuration) / "snowflake";
}

NamedConnection find_connection(const std::string& name) {
  ConnectionFiles files = read_files();
  return pick(files, name);
}

std::optional<NamedConnection> default_connection() {
  ConnectionFiles files = read_files();
  std::string name = variable("SNOWFLAKE_DEFAULT_CONNECTION_NAME");
  if (name.empty()) name = files.default_name;
  if (!name.empty()) return pick(files, name);
  if (!files.connections.contains("default")) return std::nullopt;
  return pick(files, "default");
}

}  // namespace snowmelt
