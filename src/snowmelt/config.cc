#include "snowmelt/config.h"

#include <fmt/format.h>
#include <toml++/toml.h>

#include <algorithm>
#include <cstdlib>
#include <set>
#include <string_view>

#include "snowmelt/connections_file.h"
#include "snowmelt/error.h"
#include "snowmelt/keys.h"
#include "snowmelt/log.h"
#include "snowmelt/toml_file.h"

namespace snowmelt {
namespace {

constexpr std::string_view kTopKeys[] = {"snowflake", "postgres", "export", "table", "defaults"};

[[noreturn]] void bad(std::string where, std::string message, std::string hint = {}) {
  throw ConfigurationError("config.invalid", std::move(message), {.where = std::move(where), .hint = std::move(hint)});
}

// { NAME = "text", … }. A parameter may be a number or true or false as well.
std::map<std::string, std::string> texts_of(const std::string& file, const toml::table& table, const std::string& section,
                                            KeyType type) {
  std::map<std::string, std::string> texts;
  for (const auto& [name, node] : table) {
    auto text = node.value_exact<std::string>();
    const auto refuse = [&](std::string_view expected) {
      bad(place(file, node, fmt::format("{}.{}", section, name.str())), fmt::format("expected {}", expected));
    };
    if (type == KeyType::parameters) {
      if (const auto flag = node.value_exact<bool>()) text = *flag ? "true" : "false";
      if (const auto number = node.value_exact<int64_t>()) text = std::to_string(*number);
      if (!text) refuse("text, a number or true/false");
    } else if (!text || text->empty()) {
      refuse("text in quotes");
    }
    texts[std::string(name.str())] = *text;
  }
  return texts;
}

// A TOML value in the key table's own terms; what is none of them is refused here, with its place.
KeyValue value_of(const std::string& file, const toml::node& node, const std::string& key, KeyType type) {
  if (const auto flag = node.value_exact<bool>()) return *flag;
  if (const auto number = node.value_exact<int64_t>()) return *number;
  if (const auto text = node.value_exact<std::string>()) return *text;
  if (const auto* table = node.as_table()) return texts_of(file, *table, key, type);
  if (const auto* array = node.as_array()) {
    std::vector<std::string> names;
    for (const toml::node& name : *array) {
      const auto text = name.value_exact<std::string>();
      if (!text || text->empty()) bad(place(file, name, key), "expected text in quotes");
      names.push_back(*text);
    }
    return names;
  }
  bad(place(file, node, key), fmt::format("a {} is expected here", to_string(type)));
}

template <typename Section>
void read_key(const std::string& file, const std::string& section_path, const Key<Section>& key, const toml::node& node,
              Section& section, KeyOrigin origin) {
  const std::string path = fmt::format("{}.{}", section_path, key.name);
  key.set(key, section, value_of(file, node, path, key.type), place(file, node, path), origin);
}

template <typename Section>
void read_section(const std::string& file, const toml::table& table, const std::string& section_path, Section& section) {
  for (const auto& [name, node] : table) {
    const Key<Section>* key = find_key<Section>(name.str());
    if (key == nullptr) {
      throw_unknown_key(place(file, node, fmt::format("{}.{}", section_path, name.str())), name.str(), key_names<Section>());
    }
    read_key(file, section_path, *key, node, section, KeyOrigin::file);
  }
}

// The keys of a connection that other tools use too: what is unknown here is theirs, and they take "true" for true.
void read_connection(const NamedConnection& connection, SnowflakeConfig& snowflake) {
  for (const auto& [name, node] : connection.keys) {
    const Key<SnowflakeConfig>* key = name.str() == "connection" ? nullptr : find_key<SnowflakeConfig>(name.str());
    if (key == nullptr)
      log(LogLevel::debug, "{}: a key of other tools, not used",
          place(connection.file, node, fmt::format("{}.{}", connection.name, name.str())));
    else
      read_key(connection.file, connection.name, *key, node, snowflake, KeyOrigin::text);
  }
  snowflake.connection = connection.name;
}

// An empty name or statement is a slip; in [snowflake] an empty text says that a key is not set.
void refuse_empty(const std::string& file, const toml::table& table, std::string_view section) {
  for (const auto& [name, node] : table) {
    if (node.value_exact<std::string>() == "") {
      bad(place(file, node, fmt::format("{}.{}", section, name.str())), "expected text in quotes");
    }
  }
}

void read_table_keys(const std::string& file, const toml::table& table, const std::string& section, TableConfig& config) {
  refuse_empty(file, table, section);
  read_section(file, table, section, config);
}

void read_tables(const std::string& file, const toml::table& root, Config& config) {
  TableConfig defaults;
  if (const toml::node* node = root.get("defaults")) {
    const toml::table& table = as_table(file, *node, "defaults");
    for (const char* key : {"source", "query", "name", "target"}) {
      if (const toml::node* value = table.get(key))
        bad(place(file, *value, fmt::format("defaults.{}", key)), "belongs to a single [[table]]");
    }
    read_table_keys(file, table, "defaults", defaults);
  }
  const toml::node* node = root.get("table");
  if (node == nullptr) return;
  const toml::array* tables = node->as_array();
  if (tables == nullptr) bad(place(file, *node, "table"), "tables are written as [[table]], with two brackets");
  for (const toml::node& entry : *tables) {
    TableConfig table = defaults;
    read_table_keys(file, as_table(file, entry, "table"), "table", table);
    config.tables.push_back(std::move(table));
  }
}

// The bottom of [snowflake]. A default is for who says nothing else: beside an account of our own it would mix two
// connections, a password here with a host there.
void read_named_connection(const toml::table& root, SnowflakeConfig& snowflake) {
  const auto variable = [](const char* name) {
    const char* value = std::getenv(name);
    return value == nullptr ? std::string{} : std::string(value);
  };
  std::string name = variable("SNOWFLAKE_CONNECTION");
  if (name.empty()) name = root["snowflake"]["connection"].value_or(std::string{});
  if (!name.empty()) {
    read_connection(find_connection(name), snowflake);
  } else if (!root["snowflake"]["account"] && variable("SNOWFLAKE_ACCOUNT").empty()) {
    if (const auto connection = default_connection()) read_connection(*connection, snowflake);
  }
}

void read_root(const std::string& file, const toml::table& root, Config& config) {
  for (const auto& [key, node] : root) {
    if (std::find(std::begin(kTopKeys), std::end(kTopKeys), key.str()) == std::end(kTopKeys)) {
      throw_unknown_key(place(file, node, key.str()), key.str(), {std::begin(kTopKeys), std::end(kTopKeys)});
    }
  }
  const auto section = [&](const char* name, auto& settings) {
    if (const auto* node = root.get(name)) read_section(file, as_table(file, *node, name), name, settings);
  };
  section("snowflake", config.snowflake);
  section("postgres", config.postgres);
  section("export", config.export_);
  read_tables(file, root, config);
}

template <typename Section>
void read_variables(Section& section) {
  for (const auto& key : keys<Section>()) {
    const char* value = key.variable.empty() ? nullptr : std::getenv(key.variable.c_str());
    if (value != nullptr && *value != '\0') key.set(key, section, std::string(value), key.variable, KeyOrigin::text);
  }
}

bool is_plain_start(char c, Fold fold) {
  return c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
         (fold == Fold::lower && static_cast<unsigned char>(c) >= 0x80);
}

}  // namespace

std::string written_name(const std::string& name) {
  const bool plain =
      !name.empty() && (name[0] == '_' || (name[0] >= 'a' && name[0] <= 'z')) &&
      std::all_of(name.begin(), name.end(), [](char c) { return c == '_' || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); });
  if (plain) return name;
  std::string quoted = "\"";
  for (char c : name) quoted += c == '"' ? std::string("\"\"") : std::string(1, c);
  return quoted + "\"";
}

void complete_table(const Config& config, TableConfig& table, const std::string& where) {
  if (table.source.empty() == table.query.empty()) {
    bad(where, table.source.empty() ? "source or query is missing" : "source and query are both given",
        "give exactly one of them");
  }
  std::string schema = "public";
  std::string last;
  if (table.query.empty()) {
    const std::vector<std::string> parts = parse_name(table.source, Fold::upper);
    last = parts.back();
    if (parts.size() > 1)
      schema = fold_to_postgres(parts[parts.size() - 2]);
    else if (!config.snowflake.schema.empty())
      schema = fold_to_postgres(parse_name(config.snowflake.schema, Fold::upper, 1)[0]);
    if (table.name.empty()) table.name = fmt::format("{}", fmt::join(parts, "."));
  } else {
    if (table.name.empty()) bad(where, "a query needs a name", "add name = \"…\" beside the query");
    last = table.name;
  }
  if (table.target.empty()) table.target = written_name(schema) + "." + written_name(fold_to_postgres(last));
  parse_name(table.target, Fold::lower, 2);  // refuses what is no name
}

std::vector<std::string> parse_name(const std::string& text, Fold fold, size_t parts_max) {
  const auto refuse = [&](const std::string& why) {
    bad("name " + text, why, "write database.schema.table, with \"double quotes\" around unusual parts");
  };
  if (text.find('\0') != std::string::npos) refuse("a name cannot hold a NUL character");
  std::vector<std::string> parts;
  size_t at = 0;
  for (;;) {
    std::string part;
    if (at < text.size() && text[at] == '"') {
      ++at;
      for (;; ++at) {
        if (at == text.size()) refuse("the closing quote is missing");
        if (text[at] != '"')
          part += text[at];
        else if (at + 1 < text.size() && text[at + 1] == '"')
          part += text[at++];
        else
          break;
      }
      ++at;
      if (part.empty()) refuse("a part of the name is empty");
    } else {
      if (at == text.size() || !is_plain_start(text[at], fold)) refuse("this is not a name");
      for (; at < text.size() && (is_plain_start(text[at], fold) || text[at] == '$' || (text[at] >= '0' && text[at] <= '9'));
           ++at) {
        const auto c = static_cast<unsigned char>(text[at]);
        part += static_cast<char>(c >= 0x80 ? c : fold == Fold::upper ? std::toupper(c) : std::tolower(c));
      }
    }
    parts.push_back(std::move(part));
    if (at == text.size()) break;
    if (text[at] != '.') refuse(fmt::format("unexpected \"{}\"", text[at]));
    ++at;
  }
  if (parts.size() > parts_max) refuse(fmt::format("a name here has at most {} parts", parts_max));
  return parts;
}

std::string fold_to_postgres(const std::string& name) {
  const auto upper = [](char c) { return c == '_' || (c >= 'A' && c <= 'Z'); };
  const bool folds = !name.empty() && upper(name[0]) && std::all_of(name.begin(), name.end(), [&](char c) {
    return upper(c) || c == '$' || (c >= '0' && c <= '9');
  });
  if (!folds) return name;
  std::string lower = name;
  std::transform(lower.begin(), lower.end(), lower.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return lower;
}

Config load_config(const std::optional<std::filesystem::path>& file) {
  Config config;
  const std::filesystem::path path = file.value_or("snowmelt.toml");
  toml::table root;
  if (std::filesystem::exists(path)) {
    root = read_toml(path);
  } else if (file) {
    throw ConfigurationError("config.missing_file", "there is no such file",
                             {.where = path.string(), .hint = "name another one with --config"});
  }
  read_named_connection(root, config.snowflake);
  read_root(path.string(), root, config);
  read_variables(config.snowflake);
  read_variables(config.postgres);
  return config;
}

void validate_tables(Config& config) {
  if (config.tables.empty()) {
    throw ConfigurationError("config.no_tables", "the configuration names no table",
                             {.hint = "add a [[table]] with source = \"DB.SCHEMA.TABLE\" to snowmelt.toml"});
  }
  std::map<std::vector<std::string>, std::string> targets;
  std::set<std::string> names;
  for (size_t i = 0; i < config.tables.size(); ++i) {
    TableConfig& table = config.tables[i];
    const std::string where = fmt::format("table {} ({})", i + 1, table.source.empty() ? table.name : table.source);
    complete_table(config, table, where);
    std::vector<std::string> target = parse_name(table.target, Fold::lower, 2);
    if (target.size() == 1) target.insert(target.begin(), "public");
    if (const auto [other, fresh] = targets.emplace(target, table.name); !fresh) {
      bad(where, fmt::format("two tables have the target {}: {} and {}", table.target, other->second, table.name),
          "give one of them another target");
    }
    if (!names.insert(table.name).second)
      bad(where, fmt::format("{} is listed twice", table.name), "give one of them another name");
  }
}

}  // namespace snowmelt
