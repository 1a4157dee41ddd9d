// Every key of snowmelt.toml, one row each. TOML, the environment, Python and docs/configuration.md are read from these rows:
// a new key is a member in config.h, its row in keys.cc, and its use.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "snowmelt/config.h"

namespace snowmelt {

// A key's value as TOML and Python write it.
using KeyValue = std::variant<bool, int64_t, std::string, std::map<std::string, std::string>, std::vector<std::string>>;

enum class KeyType {
  text,
  secret,
  path,
  integer,     // not negative
  flag,        // true or false
  word,        // one of Key::words
  texts,       // { COLUMN = "text" }
  names,       // ["COLUMN", …]
  duration,    // "10m", or a number of seconds
  name,        // of PostgreSQL, one part
  parameters,  // { NAME = a text, a number, or true or false }
};
// "text", "number", …, for people and for Python.
std::string_view to_string(KeyType type) noexcept;

// A file of ours says each type plainly. Variables, keyword arguments and other tools' files may write numbers and flags as
// text, and their "${" is no variable of ours.
enum class KeyOrigin { file, text };

// Section is SnowflakeConfig, PostgresConfig, ExportConfig or TableConfig.
template <typename Section>
struct Key {
  std::string_view name;
  KeyType type;
  std::string variable;                     // of the environment; empty: none
  std::span<const std::string_view> words;  // of KeyType::word, in the order of the enumeration
  std::string_view fallback;                // said in the docs where the default's own value does not say it
  std::string_view meaning;                 // one line of Markdown
  KeyValue (*get)(const Section& section);
  // Throws ConfigurationError at `where` for a value of another type.
  void (*set)(const Key& key, Section& section, const KeyValue& value, const std::string& where, KeyOrigin origin);
};

// "snowflake", "postgres", "export", "table".
template <typename Section>
std::string_view section_name() noexcept;

template <typename Section>
std::span<const Key<Section>> keys();

// Null where there is no such key.
template <typename Section>
const Key<Section>* find_key(std::string_view name);

// One key from a caller that gets them one by one (Python's keyword arguments). Throws ConfigurationError, which names the
// nearest known key.
template <typename Section>
void set_key(Section& section, const std::string& name, const KeyValue& value);

// `where` is the place of the unknown word: "snowmelt.toml:3, export.theads".
[[noreturn]] void throw_unknown_key(const std::string& where, std::string_view key, const std::vector<std::string_view>& known);

template <typename Section>
std::vector<std::string_view> key_names();

}  // namespace snowmelt
