#include "snowmelt/config.h"

#include <fmt/format.h>
#include <toml++/toml.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <numeric>
#include <set>
#include <string_view>
#include <variant>

#include "snowmelt/connections_file.h"
#include "snowmelt/error.h"
#include "snowmelt/log.h"
#include "snowmelt/toml_file.h"

namespace snowmelt {
namespace {

template <typename Section>
struct Key {
  std::string_view name;
  std::variant<std::string Section::*, Secret Section::*, int Section::*, int64_t Section::*, bool Section::*,
               std::filesystem::path Section::*>
      member;
};

// One row a key; the environment variable of a [snowflake] key is SNOWFLAKE_<NAME>.
constexpr Key<SnowflakeConfig> kSnowflakeKeys[] = {
    {"connection", &SnowflakeConfig::connection},
    {"account", &SnowflakeConfig::account},
    {"user", &SnowflakeConfig::user},
    {"password", &SnowflakeConfig::password},
    {"authenticator", &SnowflakeConfig::authenticator},
    {"database", &SnowflakeConfig::database},
    {"schema", &SnowflakeConfig::schema},
    {"warehouse", &SnowflakeConfig::warehouse},
    {"role", &SnowflakeConfig::role},
    {"private_key_file", &SnowflakeConfig::private_key_file},
    {"private_key_file_pwd", &SnowflakeConfig::private_key_file_pwd},
    {"token", &SnowflakeConfig::token},
    {"token_file_path", &SnowflakeConfig::token_file_path},
    {"passcode", &SnowflakeConfig::passcode},
    {"oauth_client_id", &SnowflakeConfig::oauth_client_id},
    {"oauth_client_secret", &SnowflakeConfig::oauth_client_secret},
    {"oauth_authorization_url", &SnowflakeConfig::oauth_authorization_url},
    {"oauth_token_request_url", &SnowflakeConfig::oauth_token_request_url},
    {"oauth_redirect_uri", &SnowflakeConfig::oauth_redirect_uri},
    {"oauth_scope", &SnowflakeConfig::oauth_scope},
    {"workload_identity_provider", &SnowflakeConfig::workload_identity_provider},
    {"workload_identity_entra_resource", &SnowflakeConfig::workload_identity_entra_resource},
    {"host", &SnowflakeConfig::host},
    {"port", &SnowflakeConfig::port},
    {"protocol", &SnowflakeConfig::protocol},
    {"proxy_host", &SnowflakeConfig::proxy_host},
    {"proxy_port", &SnowflakeConfig::proxy_port},
    {"proxy_user", &SnowflakeConfig::proxy_user},
    {"proxy_password", &SnowflakeConfig::proxy_password},
    {"no_proxy", &SnowflakeConfig::no_proxy},
    {"login_timeout", &SnowflakeConfig::login_timeout},
    {"external_browser_timeout", &SnowflakeConfig::external_browser_timeout},
    {"client_session_keep_alive", &SnowflakeConfig::client_session_keep_alive},
    {"client_store_temporary_credential", &SnowflakeConfig::client_store_temporary_credential},
};

constexpr Key<PostgresConfig> kPostgresKeys[] = {
    {"uri", &PostgresConfig::uri},
    {"service", &PostgresConfig::service},
    {"host", &PostgresConfig::host},
    {"port", &PostgresConfig::port},
    {"dbname", &PostgresConfig::dbname},
    {"user", &PostgresConfig::user},
    {"password", &PostgresConfig::password},
    {"sslmode", &PostgresConfig::sslmode},
    {"sslrootcert", &PostgresConfig::sslrootcert},
    {"autocommit", &PostgresConfig::autocommit},
    {"connect_timeout", &PostgresConfig::connect_timeout},
    {"load_connections", &PostgresConfig::load_connections},
};

// libpq's own variables for the keys above.
constexpr std::pair<const char*, std::string_view> kPostgresEnvironment[] = {
    {"PGSERVICE", "service"}, {"PGHOST", "host"},         {"PGPORT", "port"},       {"PGDATABASE", "dbname"},
    {"PGUSER", "user"},       {"PGPASSWORD", "password"}, {"PGSSLMODE", "sslmode"}, {"PGSSLROOTCERT", "sslrootcert"},
};

constexpr Key<ExportConfig> kExportKeys[] = {
    {"directory", &ExportConfig::directory},       {"part_size", &ExportConfig::part_size},
    {"threads", &ExportConfig::threads},           {"downloads", &ExportConfig::downloads},
    {"memory_limit", &ExportConfig::memory_limit}, {"compression_level", &ExportConfig::compression_level},
};

// The enumerations' words, in the order of their values.
constexpr std::string_view kLoadModes[] = {"create", "replace", "truncate", "append"};
constexpr std::string_view kIntegerModes[] = {"bigint", "numeric"};
constexpr std::string_view kSubsecondModes[] = {"error", "truncate", "round", "nanos"};
constexpr std::string_view kNulModes[] = {"error", "strip", "replace"};
constexpr std::string_view kRangeModes[] = {"error", "null"};
constexpr std::string_view kTableKeys[] = {"source",    "query",  "name",  "target", "mode",   "integers",       "on_subsecond",
                                           "tz_offset", "rename", "types", "drop",   "on_nul", "on_out_of_range"};
constexpr std::string_view kTopKeys[] = {"snowflake", "postgres", "export", "table", "defaults"};

[[noreturn]] void bad(std::string where, std::string message, std::string hint = {}) {
  throw ConfigurationError("config.invalid", std::move(message), {.where = std::move(where), .hint = std::move(hint)});
}

size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = std::exchange(row[0], i);
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t substitution = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, substitution});
    }
  }
  return row.back();
}

template <typename Names>
std::string nearest(std::string_view word, const Names& names) {
  std::string_view best;
  size_t best_distance = SIZE_MAX;
  for (std::string_view name : names) {
    if (const size_t distance = edit_distance(word, name); distance < best_distance) {
      best_distance = distance;
      best = name;
    }
  }
  return std::string(best);
}

template <typename Names>
[[noreturn]] void unknown_key(const std::string& file, const toml::node& node, std::string_view section, std::string_view key,
                              const Names& names) {
  const std::string dot = section.empty() ? "" : ".";
  throw ConfigurationError("config.unknown_key", fmt::format("unknown key \"{}\"", key),
                           {.where = place(file, node, fmt::format("{}{}{}", section, dot, key)),
                            .hint = fmt::format("the nearest known key is \"{}\"", nearest(key, names))});
}

template <typename Names>
[[noreturn]] void refuse_key(const std::string& section, const std::string& key, const Names& names) {
  throw ConfigurationError("config.unknown_key", fmt::format("unknown key \"{}\"", key),
                           {.where = section, .hint = fmt::format("the nearest known key is \"{}\"", nearest(key, names))});
}

template <typename T>
T parse_text(std::string_view text, const std::string& where);

template <>
int64_t parse_text(std::string_view text, const std::string& where) {
  int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || end != text.data() + text.size()) bad(where, fmt::format("\"{}\" is not a whole number", text));
  return number;
}

template <>
bool parse_text(std::string_view text, const std::string& where) {
  std::string lower(text);
  std::transform(lower.begin(), lower.end(), lower.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  if (lower == "true" || lower == "1" || lower == "yes" || lower == "on") return true;
  if (lower == "false" || lower == "0" || lower == "no" || lower == "off") return false;
  bad(where, fmt::format("\"{}\" is not true or false", text));
}

template <typename Int>
Int in_range(int64_t number, const std::string& where) {
  if (number < 0 || number > std::numeric_limits<Int>::max()) bad(where, fmt::format("{} is out of range", number));
  return static_cast<Int>(number);
}

// From the environment or from text in a file: one assignment for every member type.
template <typename Section>
void assign_text(Section& section, const Key<Section>& key, const std::string& text, const std::string& where) {
  std::visit(
      [&](auto member) {
        using Member = std::remove_reference_t<decltype(section.*member)>;
        if constexpr (std::is_same_v<Member, bool>)
          section.*member = parse_text<bool>(text, where);
        else if constexpr (std::is_integral_v<Member>)
          section.*member = in_range<Member>(parse_text<int64_t>(text, where), where);
        else
          section.*member = Member(text);
      },
      key.member);
}

template <typename Section>
void assign_toml(Section& section, const Key<Section>& key, const toml::node& value, const std::string& where) {
  std::visit(
      [&](auto member) {
        using Member = std::remove_reference_t<decltype(section.*member)>;
        if constexpr (std::is_same_v<Member, bool>) {
          if (auto flag = value.value_exact<bool>())
            section.*member = *flag;
          else
            bad(where, "expected true or false");
        } else if constexpr (std::is_integral_v<Member>) {
          if (auto number = value.value_exact<int64_t>())
            section.*member = in_range<Member>(*number, where);
          else
            bad(where, "expected a whole number");
        } else {
          // A port is often written as a number where text is meant (postgres.port).
          if (auto text = value.value_exact<std::string>())
            section.*member = Member(*text);
          else if (auto number = value.value_exact<int64_t>())
            section.*member = Member(std::to_string(*number));
          else
            bad(where, "expected text in quotes");
        }
      },
      key.member);
}

template <typename Section, size_t N>
const Key<Section>* find_key(const Key<Section> (&keys)[N], std::string_view name) {
  const auto* found = std::find_if(keys, keys + N, [&](const auto& key) { return key.name == name; });
  return found == keys + N ? nullptr : found;
}

template <typename Section, size_t N>
std::vector<std::string_view> names_of(const Key<Section> (&keys)[N]) {
  std::vector<std::string_view> names;
  for (const auto& key : keys) names.push_back(key.name);
  return names;
}

template <typename Section, size_t N>
void read_section(const std::string& file, const toml::table& table, std::string_view name, const Key<Section> (&keys)[N],
                  Section& section) {
  for (const auto& [toml_key, value] : table) {
    const std::string_view key = toml_key.str();
    const Key<Section>* known = find_key(keys, key);
    if (known == nullptr) unknown_key(file, value, name, key, names_of(keys));
    assign_toml(section, *known, value, place(file, value, fmt::format("{}.{}", name, key)));
  }
}

void read_session_parameters(const std::string& file, const toml::table& table, SnowflakeConfig& snowflake) {
  if (const toml::node* parameters = table.get("session_parameters")) {
    for (const auto& [key, value] : as_table(file, *parameters, "snowflake.session_parameters")) {
      auto text = value.value<std::string>();
      if (auto flag = value.value_exact<bool>())
        text = *flag ? "true" : "false";
      else if (auto number = value.value_exact<int64_t>())
        text = std::to_string(*number);
      if (!text)
        bad(place(file, value, fmt::format("snowflake.session_parameters.{}", key.str())),
            "expected text, a number or true/false");
      snowflake.session_parameters[std::string(key.str())] = *text;
    }
  }
}

void read_snowflake(const std::string& file, const toml::table& table, SnowflakeConfig& snowflake) {
  read_session_parameters(file, table, snowflake);
  toml::table plain = table;
  plain.erase("session_parameters");
  read_section(file, plain, "snowflake", kSnowflakeKeys, snowflake);
}

// The keys of a connection that other tools use too: what is unknown here is theirs, and they take "true" for true.
void read_connection(const NamedConnection& connection, SnowflakeConfig& snowflake) {
  read_session_parameters(connection.file, connection.keys, snowflake);
  for (const auto& [toml_key, value] : connection.keys) {
    const std::string_view key = toml_key.str();
    if (key == "session_parameters") continue;
    const std::string where = place(connection.file, value, fmt::format("{}.{}", connection.name, key));
    const Key<SnowflakeConfig>* known = key == "connection" ? nullptr : find_key(kSnowflakeKeys, key);
    if (known == nullptr)
      log(LogLevel::debug, "{}: a key of other tools, not used", where);
    else if (const auto text = value.value_exact<std::string>())
      assign_text(snowflake, *known, *text, where);
    else
      assign_toml(snowflake, *known, value, where);
  }
  snowflake.connection = connection.name;
}

template <typename Enum, size_t N>
Enum parse_word(const std::string& where, const toml::node& value, const std::string_view (&words)[N]) {
  const auto text = value.value_exact<std::string>();
  const auto* found = text ? std::find(words, words + N, *text) : words + N;
  if (found == words + N) {
    bad(where, fmt::format("{} is not one of: {}", text ? fmt::format("\"{}\"", *text) : "this value", fmt::join(words, ", ")));
  }
  return static_cast<Enum>(found - words);
}

// { COLUMN = "text", … }
std::map<std::string, std::string> column_texts(const std::string& where, const toml::node& value) {
  std::map<std::string, std::string> texts;
  const toml::table* table = value.as_table();
  if (table == nullptr) bad(where, "expected a table of columns", "write { COLUMN = \"…\" }");
  for (const auto& [column, text] : *table) {
    const auto got = text.value_exact<std::string>();
    if (!got || got->empty()) bad(fmt::format("{}.{}", where, column.str()), "expected text in quotes");
    texts[std::string(column.str())] = *got;
  }
  return texts;
}

// ["COLUMN", …]
std::vector<std::string> column_names(const std::string& where, const toml::node& value) {
  std::vector<std::string> names;
  const toml::array* array = value.as_array();
  if (array == nullptr) bad(where, "expected a list of columns", "write [\"COLUMN\", …]");
  for (const toml::node& name : *array) {
    const auto got = name.value_exact<std::string>();
    if (!got || got->empty()) bad(where, "expected text in quotes");
    names.push_back(*got);
  }
  return names;
}

void read_table_keys(const std::string& file, const toml::table& table, std::string_view section, TableConfig& config) {
  for (const auto& [toml_key, value] : table) {
    const std::string_view key = toml_key.str();
    const std::string where = place(file, value, fmt::format("{}.{}", section, key));
    const auto text = [&, &node = value] {
      auto got = node.value_exact<std::string>();
      if (!got || got->empty()) bad(where, "expected text in quotes");
      return *got;
    };
    if (key == "source")
      config.source = text();
    else if (key == "query")
      config.query = text();
    else if (key == "name")
      config.name = text();
    else if (key == "target")
      config.target = text();
    else if (key == "mode")
      config.mode = parse_word<LoadMode>(where, value, kLoadModes);
    else if (key == "integers")
      config.integers = parse_word<IntegerMode>(where, value, kIntegerModes);
    else if (key == "on_subsecond")
      config.on_subsecond = parse_word<SubsecondMode>(where, value, kSubsecondModes);
    else if (key == "on_nul")
      config.columns.on_nul = parse_word<NulMode>(where, value, kNulModes);
    else if (key == "on_out_of_range")
      config.columns.on_out_of_range = parse_word<RangeMode>(where, value, kRangeModes);
    else if (key == "rename")
      config.columns.rename = column_texts(where, value);
    else if (key == "types")
      config.columns.types = column_texts(where, value);
    else if (key == "drop")
      config.columns.drop = column_names(where, value);
    else if (key == "tz_offset") {
      if (!value.is_boolean()) bad(where, "expected true or false");
      config.tz_offset = *value.value_exact<bool>();
    } else {
      unknown_key(file, value, section, key, kTableKeys);
    }
  }
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
  for (const auto& [key, value] : root) {
    if (std::find(std::begin(kTopKeys), std::end(kTopKeys), key.str()) == std::end(kTopKeys)) {
      unknown_key(file, value, "", key.str(), kTopKeys);
    }
  }
  if (const auto* node = root.get("snowflake")) read_snowflake(file, as_table(file, *node, "snowflake"), config.snowflake);
  if (const auto* node = root.get("postgres"))
    read_section(file, as_table(file, *node, "postgres"), "postgres", kPostgresKeys, config.postgres);
  if (const auto* node = root.get("export"))
    read_section(file, as_table(file, *node, "export"), "export", kExportKeys, config.export_);
  read_tables(file, root, config);
}

void read_environment(Config& config) {
  for (const auto& key : kSnowflakeKeys) {
    std::string variable = "SNOWFLAKE_" + std::string(key.name);
    std::transform(variable.begin(), variable.end(), variable.begin(),
                   [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
    if (const char* value = std::getenv(variable.c_str()); value != nullptr && *value != '\0') {
      assign_text(config.snowflake, key, value, variable);
    }
  }
  for (const auto& [variable, name] : kPostgresEnvironment) {
    if (const char* value = std::getenv(variable); value != nullptr && *value != '\0') {
      assign_text(config.postgres, *find_key(kPostgresKeys, name), value, variable);
    }
  }
}

bool is_plain_start(char c, Fold fold) {
  return c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
         (fold == Fold::lower && static_cast<unsigned char>(c) >= 0x80);
}

std::string quote_if_needed(const std::string& name) {
  const bool plain =
      !name.empty() && (name[0] == '_' || (name[0] >= 'a' && name[0] <= 'z')) &&
      std::all_of(name.begin(), name.end(), [](char c) { return c == '_' || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); });
  if (plain) return name;
  std::string quoted = "\"";
  for (char c : name) quoted += c == '"' ? std::string("\"\"") : std::string(1, c);
  return quoted + "\"";
}

// From single keys; `where` of a message is the key itself.
template <typename Section, size_t N>
void set_section_key(Section& section, const Key<Section> (&keys)[N], const std::string& name, const std::string& key,
                     const std::string& value) {
  const Key<Section>* known = find_key(keys, key);
  if (known == nullptr) refuse_key(name, key, names_of(keys));
  assign_text(section, *known, value, name + "." + key);
}

}  // namespace

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
  if (table.target.empty()) table.target = quote_if_needed(schema) + "." + quote_if_needed(fold_to_postgres(last));
  parse_name(table.target, Fold::lower, 2);  // refuses what is no name
}

void set_key(SnowflakeConfig& config, const std::string& key, const std::string& value) {
  set_section_key(config, kSnowflakeKeys, "snowflake", key, value);
}
void set_key(PostgresConfig& config, const std::string& key, const std::string& value) {
  set_section_key(config, kPostgresKeys, "postgres", key, value);
}
void set_key(ExportConfig& config, const std::string& key, const std::string& value) {
  set_section_key(config, kExportKeys, "export", key, value);
}

void set_key(TableConfig& table, const std::string& key, const std::string& value) {
  const std::string where = "table." + key;
  const auto word = [&](const auto& words) {
    const auto* found = std::find(std::begin(words), std::end(words), value);
    if (found == std::end(words)) bad(where, fmt::format("\"{}\" is not one of: {}", value, fmt::join(words, ", ")));
    return found - std::begin(words);
  };
  if (key == "source")
    table.source = value;
  else if (key == "query")
    table.query = value;
  else if (key == "name")
    table.name = value;
  else if (key == "target")
    table.target = value;
  else if (key == "mode")
    table.mode = static_cast<LoadMode>(word(kLoadModes));
  else if (key == "integers")
    table.integers = static_cast<IntegerMode>(word(kIntegerModes));
  else if (key == "on_subsecond")
    table.on_subsecond = static_cast<SubsecondMode>(word(kSubsecondModes));
  else if (key == "tz_offset")
    table.tz_offset = parse_text<bool>(value, where);
  else if (key == "on_nul")
    table.columns.on_nul = static_cast<NulMode>(word(kNulModes));
  else if (key == "on_out_of_range")
    table.columns.on_out_of_range = static_cast<RangeMode>(word(kRangeModes));
  else if (key == "drop")
    table.columns.drop.push_back(value);
  else if (key.starts_with("rename."))
    table.columns.rename[key.substr(std::string_view("rename.").size())] = value;
  else if (key.starts_with("types."))
    table.columns.types[key.substr(std::string_view("types.").size())] = value;
  else
    refuse_key("table", key, kTableKeys);
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
  read_environment(config);
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
