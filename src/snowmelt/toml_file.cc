#include "snowmelt/toml_file.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include "snowmelt/error.h"
#include "snowmelt/log.h"

namespace snowmelt {
namespace {

// A file that others may write could point our login somewhere else; one that others may read may show a password.
void check_permissions(const std::filesystem::path& file) {
  struct stat status {};
  if (::stat(file.c_str(), &status) != 0) return;  // opening it will say why
  if ((status.st_mode & (S_IWGRP | S_IWOTH)) != 0) {
    throw ConfigurationError("config.unsafe_file", "the file may be written by other users",
                             {.where = file.string(), .hint = fmt::format("chmod go-w {}", file.string())});
  }
  if ((status.st_mode & (S_IRGRP | S_IROTH)) != 0) {
    log(LogLevel::warning, "{} may be read by other users; chmod 600 it if it holds a password", file.string());
  }
}

}  // namespace

toml::table read_toml(const std::filesystem::path& path) {
  check_permissions(path);
  try {
    return toml::parse_file(path.string());
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
