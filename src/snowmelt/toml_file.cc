#include "snowmelt/toml_file.h"

#include <fmt/format.h>

#include "snowmelt/error.h"
#include "snowmelt/log.h"
#include "snowmelt/open_file.h"

namespace snowmelt {

toml::table read_toml(const std::filesystem::path& path) {
  // A file that others may write could point our login somewhere else; one that others may read may show a password.
  const TrustedText file = read_trusted(path);
  if (file.readable_by_others)
    log(LogLevel::warning, "{} may be read by other users; chmod 600 it if it holds a password", path.string());
  try {
    return toml::parse(file.text, path.string());
  } catch (const toml::parse_error& error) {
    const toml::source_position at = error.source().begin;
    throw ConfigurationError("config.not_toml", std::string(error.description()),
                             {.where = fmt::format("{}:{}:{}", path.string(), at.line, at.column)});
  }
}

std::string place(const std::string& file, const toml::node& node, std::string_view key) {
  return fmt::format("{}:{}, {}", file, node.source().begin.line, key);
}

const toml::table& as_table(const std::string& file, const toml::node& node, std::string_view name) {
  if (const auto* table = node.as_table()) return *table;
  throw ConfigurationError("config.invalid", fmt::format("[{}] must be a table", name), {.where = place(file, node, name)});
}

}  // namespace snowmelt
