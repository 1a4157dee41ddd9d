// connections.toml and config.toml of Snowflake's own tools: named connections that snowmelt.toml may build on.
#pragma once

#include <toml++/toml.h>

#include <filesystem>
#include <optional>
#include <string>

namespace snowmelt {

struct NamedConnection {
  std::string name;
  std::string file;  // where it was found
  toml::table keys;
};

// Where Snowflake's tools look: $SNOWFLAKE_HOME or ~/.snowflake where that exists, else snowflake/ in $XDG_CONFIG_HOME
// or ~/.config.
std::filesystem::path snowflake_home();

// The connection of this name. Throws ConfigurationError, which names the known ones, where there is none.
NamedConnection find_connection(const std::string& name);

// The one that Snowflake's tools take by default: SNOWFLAKE_DEFAULT_CONNECTION_NAME, else config.toml's
// default_connection_name, else "default" if it exists.
std::optional<NamedConnection> default_connection();

}  // namespace snowmelt
