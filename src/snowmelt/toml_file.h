// Settings files as people write them: read with care for who else may touch them.
#pragma once

#include <toml++/toml.h>

#include <filesystem>
#include <string>
#include <string_view>

namespace snowmelt {

// Throws ConfigurationError for a file that is not to be trusted (open_file.h), and for what is not TOML; warns of one that
// others may read.
toml::table read_toml(const std::filesystem::path& path);

// Where a TOML value stands, for messages: "snowmelt.toml:12, table.mode".
std::string place(const std::string& file, const toml::node& node, std::string_view key);

const toml::table& as_table(const std::string& file, const toml::node& node, std::string_view name);

}  // namespace snowmelt
