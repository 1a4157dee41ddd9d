#include "snowmelt/keys.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <limits>
#include <type_traits>
#include <utility>

#include "snowmelt/duration.h"
#include "snowmelt/error.h"
#include "snowmelt/names.h"
#include "snowmelt/nearest_word.h"
#include "snowmelt/postgres_name.h"
#include "snowmelt/postgres_type.h"

namespace snowmelt {
namespace {

[[noreturn]] void bad(const std::string& where, std::string message, std::string hint = {}) {
  throw ConfigurationError("config.invalid", std::move(message), {.where = where, .hint = std::move(hint)});
}

// The enumerations' words, in the order of their values.
constexpr std::string_view kLoadModes[] = {"create", "replace", "truncate", "append"};
constexpr std::string_view kIntegerModes[] = {"bigint", "numeric"};
constexpr std::string_view kSubsecondModes[] = {"error", "truncate", "round", "nanos"};
constexpr std::string_view kPermissions[] = {"private", "group", "umask"};
constexpr std::string_view kNulModes[] = {"error", "strip", "replace"};
constexpr std::string_view kRangeModes[] = {"error", "null"};

template <typename Member>
constexpr std::span<const std::string_view> words_of() {
  if constexpr (std::is_same_v<Member, LoadMode>) return kLoadModes;
  if constexpr (std::is_same_v<Member, IntegerMode>) return kIntegerModes;
  if constexpr (std::is_same_v<Member, SubsecondMode>) return kSubsecondModes;
  if constexpr (std::is_same_v<Member, FilePermissions>) return kPermissions;
  if constexpr (std::is_same_v<Member, NulMode>) return kNulModes;
  if constexpr (std::is_same_v<Member, RangeMode>) return kRangeModes;
  return {};
}

template <typename Member>
constexpr KeyType type_of() {
  if constexpr (std::is_same_v<Member, Secret>) return KeyType::secret;
  if constexpr (std::is_same_v<Member, std::filesystem::path>) return KeyType::path;
  if constexpr (std::is_same_v<Member, bool>) return KeyType::flag;
  if constexpr (std::is_integral_v<Member>) return KeyType::integer;
  if constexpr (std::is_enum_v<Member>) return KeyType::word;
  if constexpr (std::is_same_v<Member, std::map<std::string, std::string>>) return KeyType::texts;
  if constexpr (std::is_same_v<Member, std::vector<std::string>>) return KeyType::names;
  if constexpr (std::is_same_v<Member, std::chrono::milliseconds>) return KeyType::duration;
  return KeyType::text;
}

// The member at the end of a path: member<&TableConfig::rules, &ColumnRules::drop>(table).
template <auto... Path>
constexpr auto& member(auto& section) {
  // clang-format off
  return (section .* ... .* Path);
  // clang-format on
}

template <typename Member>
KeyValue value_of(const Member& value) {
  if constexpr (std::is_same_v<Member, Secret>) return value.reveal();
  if constexpr (std::is_same_v<Member, std::filesystem::path>) return value.string();
  if constexpr (std::is_enum_v<Member>) return std::string(words_of<Member>()[static_cast<size_t>(value)]);
  if constexpr (std::is_same_v<Member, int>) return int64_t{value};
  if constexpr (std::is_same_v<Member, std::chrono::milliseconds>) return duration_text(value);
  if constexpr (std::is_same_v<Member, bool> || std::is_same_v<Member, int64_t> || std::is_same_v<Member, std::string> ||
                type_of<Member>() == KeyType::texts || type_of<Member>() == KeyType::names)
    return value;
}

int64_t number_of(const KeyValue& value, const std::string& where, KeyOrigin origin) {
  if (const auto* number = std::get_if<int64_t>(&value)) return *number;
  const auto* text = std::get_if<std::string>(&value);
  if (text == nullptr || origin == KeyOrigin::file) bad(where, "expected a whole number");
  int64_t number = 0;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), number);
  if (error != std::errc{} || end != text->data() + text->size()) bad(where, fmt::format("\"{}\" is not a whole number", *text));
  return number;
}

bool flag_of(const KeyValue& value, const std::string& where, KeyOrigin origin) {
  if (const auto* flag = std::get_if<bool>(&value)) return *flag;
  const auto* text = std::get_if<std::string>(&value);
  if (text == nullptr || origin == KeyOrigin::file) bad(where, "expected true or false");
  const std::string lower = lower_case(*text);
  for (const char* word : {"true", "1", "yes", "on"}) {
    if (lower == word) return true;
  }
  for (const char* word : {"false", "0", "no", "off"}) {
    if (lower == word) return false;
  }
  bad(where, fmt::format("\"{}\" is not true or false", *text));
}

// A port is often written as a number where text is meant (postgres.port).
std::string text_of(const KeyValue& value, const std::string& where) {
  if (const auto* text = std::get_if<std::string>(&value)) return *text;
  if (const auto* number = std::get_if<int64_t>(&value)) return std::to_string(*number);
  bad(where, "expected text in quotes");
}

std::chrono::milliseconds duration_of(const KeyValue& value, const std::string& where) {
  std::string text;
  if (const auto* number = std::get_if<int64_t>(&value)) {
    text = std::to_string(*number);
  } else if (const auto* given = std::get_if<std::string>(&value)) {
    text = *given;
  } else {
    bad(where, "expected a duration", std::string(kDurationForms));
  }
  const auto duration = parse_duration(text);
  if (!duration) bad(where, fmt::format("\"{}\" is not a duration", text), std::string(kDurationForms));
  return *duration;
}

template <typename Enum>
Enum word_of(const KeyValue& value, const std::string& where) {
  const auto words = words_of<Enum>();
  const auto* text = std::get_if<std::string>(&value);
  const auto found = text != nullptr ? std::find(words.begin(), words.end(), *text) : words.end();
  if (found == words.end()) {
    bad(where, fmt::format("{} is not one of: {}", text != nullptr ? fmt::format("\"{}\"", *text) : "this value",
                           fmt::join(words, ", ")));
  }
  return static_cast<Enum>(found - words.begin());
}

// "${NAME}" is kept for variables. Until there are some, such a text would go to a server as it stands, as a password too.
void refuse_variables(const std::string& text, const std::string& where, const std::string& variable) {
  if (text.find("${") == std::string::npos) return;
  throw ConfigurationError(
      "config.no_variables", "the value holds \"${\", and there are no variables in this file yet",
      {.where = where,
       .hint = variable.empty() ? "write the value itself"
                                : fmt::format("write the value itself, or set {} in the environment", variable)});
}

void refuse_variables(const KeyValue& value, const std::string& where, const std::string& variable) {
  if (const auto* text = std::get_if<std::string>(&value)) refuse_variables(*text, where, variable);
  if (const auto* texts = std::get_if<std::map<std::string, std::string>>(&value)) {
    for (const auto& [name, text] : *texts) refuse_variables(text, where + "." + name, {});
  }
  if (const auto* names = std::get_if<std::vector<std::string>>(&value)) {
    for (const std::string& name : *names) refuse_variables(name, where, {});
  }
}

template <typename Section, auto... Path>
void assign(const Key<Section>& key, Section& section, const KeyValue& value, const std::string& where, KeyOrigin origin) {
  auto& target = member<Path...>(section);
  using Member = std::remove_cvref_t<decltype(target)>;
  if (origin == KeyOrigin::file) refuse_variables(value, where, key.variable);
  if constexpr (std::is_same_v<Member, bool>) {
    target = flag_of(value, where, origin);
  } else if constexpr (std::is_integral_v<Member>) {
    const int64_t number = number_of(value, where, origin);
    if (number < 0 || number > std::numeric_limits<Member>::max()) bad(where, fmt::format("{} is out of range", number));
    target = static_cast<Member>(number);
  } else if constexpr (std::is_enum_v<Member>) {
    target = word_of<Member>(value, where);
  } else if constexpr (type_of<Member>() == KeyType::duration) {
    target = duration_of(value, where);
  } else if constexpr (type_of<Member>() == KeyType::texts) {
    const auto* texts = std::get_if<Member>(&value);
    if (texts == nullptr) {
      bad(where, fmt::format("expected a {}", to_string(key.type)),
          key.type == KeyType::parameters ? "write { NAME = \"…\" }" : "write { COLUMN = \"…\" }");
    }
    // Parameters add to those of a named connection; columns replace those of [defaults].
    if (key.type != KeyType::parameters) target.clear();
    for (const auto& [name, text] : *texts) target[name] = text;
  } else if constexpr (type_of<Member>() == KeyType::names) {
    const auto* names = std::get_if<Member>(&value);
    if (names == nullptr) bad(where, "expected a list of columns", "write [\"COLUMN\", …]");
    target = *names;
  } else {
    target = Member(text_of(value, where));
  }
}

template <typename Section, auto... Path>
Key<Section> row(std::string_view name, std::string variable, std::string_view fallback, std::string_view meaning) {
  using Member = std::remove_cvref_t<decltype(member<Path...>(std::declval<Section&>()))>;
  return {.name = name,
          .type = type_of<Member>(),
          .variable = std::move(variable),
          .words = words_of<Member>(),
          .fallback = fallback,
          .meaning = meaning,
          .get = [](const Section& section) { return value_of(member<Path...>(section)); },
          .set = assign<Section, Path...>};
}

template <auto... Path>
Key<SnowflakeConfig> snowflake(std::string_view name, std::string_view fallback, std::string_view meaning) {
  std::string variable = "SNOWFLAKE_" + std::string(name);
  for (char& c : variable) c = c >= 'a' && c <= 'z' ? static_cast<char>(c - ('a' - 'A')) : c;
  return row<SnowflakeConfig, Path...>(name, std::move(variable), fallback, meaning);
}

template <auto... Path>
Key<PostgresConfig> postgres(std::string_view name, std::string variable, std::string_view fallback, std::string_view meaning) {
  return row<PostgresConfig, Path...>(name, std::move(variable), fallback, meaning);
}

template <auto... Path>
Key<ExportConfig> exporting(std::string_view name, std::string_view fallback, std::string_view meaning) {
  return row<ExportConfig, Path...>(name, {}, fallback, meaning);
}

template <auto... Path>
Key<TableConfig> table(std::string_view name, std::string_view fallback, std::string_view meaning) {
  return row<TableConfig, Path...>(name, {}, fallback, meaning);
}

template <auto Rule>
Key<TableConfig> rule(std::string_view name, std::string_view fallback, std::string_view meaning) {
  return table<&TableConfig::rules, Rule>(name, fallback, meaning);
}

Key<SnowflakeConfig> session_parameters_row() {
  auto key = row<SnowflakeConfig, &SnowflakeConfig::session_parameters>(
      "session_parameters", {}, "geography and geometry as EWKB",
      "`{ NAME = value }`: session parameters, set at the login; `ROWS_PER_RESULTSET` is not one of them: it is always 0, "
      "which is no limit");
  key.type = KeyType::parameters;
  return key;
}

// Kept as the catalog has it, given out as it may be written.
Key<PostgresConfig> ledger_schema_row() {
  auto key = postgres<&PostgresConfig::ledger_schema>(
      "ledger_schema", {}, {},
      "schema of snowmelt's own tables: which exports are in a table, and which tables it made. It is made when it is needed");
  key.type = KeyType::name;
  key.get = [](const PostgresConfig& config) { return KeyValue(written_name(config.ledger_schema)); };
  key.set = [](const Key<PostgresConfig>& self, PostgresConfig& config, const KeyValue& value, const std::string& where,
               KeyOrigin origin) {
    if (origin == KeyOrigin::file) refuse_variables(value, where, self.variable);
    std::string name;
    try {
      name = parse_name(text_of(value, where), Fold::lower, 1).front();
    } catch (const ConfigurationError& error) {
      bad(where, fmt::format("this is not the name of one schema: {}", error.message()),
          "write letters, digits and _, or put other names in \"double quotes\"");
    }
    if (name.size() > kPostgresNameBytesMax)
      bad(where, fmt::format("the name has {} bytes, and PostgreSQL's have at most {}", name.size(), kPostgresNameBytesMax));
    config.ledger_schema = name;
  };
  return key;
}

// The types become part of CREATE TABLE.
Key<TableConfig> types_row() {
  auto key = rule<&ColumnRules::types>("types", "", "`{ COLUMN = \"varchar(20)\" }`: the type in a table that snowmelt makes");
  key.set = [](const Key<TableConfig>& self, TableConfig& config, const KeyValue& value, const std::string& where,
               KeyOrigin origin) {
    TableConfig fresh;
    assign<TableConfig, &TableConfig::rules, &ColumnRules::types>(self, fresh, value, where, origin);
    for (auto& [column, text] : fresh.rules.types) {
      const auto type = canonical_postgres_type(text);
      if (!type)
        bad(fmt::format("{}.{}", where, column), fmt::format("\"{}\" is not a PostgreSQL type", text),
            std::string(kPostgresTypeForms));
      text = *type;
    }
    config.rules.types = std::move(fresh.rules.types);
  };
  return key;
}

// PostgreSQL takes 0 for "no limit": readers would queue without end.
Key<PostgresConfig> publish_lock_timeout_row() {
  auto key = postgres<&PostgresConfig::publish_lock_timeout>(
      "publish_lock_timeout", {}, {},
      "how long new readers may queue behind a publish at a time; then they go first, and it tries again");
  key.set = [](const Key<PostgresConfig>& self, PostgresConfig& config, const KeyValue& value, const std::string& where,
               KeyOrigin origin) {
    PostgresConfig fresh;
    assign<PostgresConfig, &PostgresConfig::publish_lock_timeout>(self, fresh, value, where, origin);
    if (fresh.publish_lock_timeout.count() == 0) bad(where, "must be more than 0", "write \"2s\", say");
    config.publish_lock_timeout = fresh.publish_lock_timeout;
  };
  return key;
}

}  // namespace

std::string_view to_string(KeyType type) noexcept {
  switch (type) {
    case KeyType::text: return "text";
    case KeyType::secret: return "secret text";
    case KeyType::path: return "path";
    case KeyType::integer: return "number";
    case KeyType::flag: return "true or false";
    case KeyType::word: return "word";
    case KeyType::texts: return "table of columns";
    case KeyType::names: return "list of columns";
    case KeyType::parameters: return "table of parameters";
    case KeyType::duration: return "duration";
    case KeyType::name: return "name";
  }
  return "";
}

template <>
std::string_view section_name<SnowflakeConfig>() noexcept {
  return "snowflake";
}
template <>
std::string_view section_name<PostgresConfig>() noexcept {
  return "postgres";
}
template <>
std::string_view section_name<ExportConfig>() noexcept {
  return "export";
}
template <>
std::string_view section_name<TableConfig>() noexcept {
  return "table";
}

template <>
std::span<const Key<SnowflakeConfig>> keys<SnowflakeConfig>() {
  using C = SnowflakeConfig;
  static const Key<C> kKeys[] = {
      snowflake<&C::connection>("connection", "", "a named connection of `connections.toml` or `config.toml`"),
      snowflake<&C::account>("account", "", "account identifier, `myorg-acct`"),
      snowflake<&C::user>("user", "", "login name"),
      snowflake<&C::password>("password", "", "for password logins"),
      snowflake<&C::authenticator>(
          "authenticator", "",
          "`snowflake` (password), `snowflake_jwt` (key pair), `externalbrowser` (single sign-on), `username_password_mfa`, "
          "`oauth`, "
          "`oauth_authorization_code`, `oauth_client_credentials`, `programmatic_access_token`, `workload_identity`, or an Okta "
          "address `https://…`"),
      snowflake<&C::database>("database", "", "as for any Snowflake client"),
      snowflake<&C::schema>("schema", "", "as for any Snowflake client"),
      snowflake<&C::warehouse>("warehouse", "", "as for any Snowflake client"),
      snowflake<&C::role>("role", "", "as for any Snowflake client"),
      snowflake<&C::private_key_file>("private_key_file", "", "PEM of a key pair, PKCS#8 (encrypted or not) or PKCS#1"),
      snowflake<&C::private_key_file_pwd>("private_key_file_pwd", "", "passphrase of that file"),
      snowflake<&C::token>("token", "", "for OAuth and programmatic access tokens, and of the OIDC workload identity"),
      snowflake<&C::token_file_path>("token_file_path", "", "a file that holds that token"),
      snowflake<&C::passcode>("passcode", "", "the one-time code of MFA"),
      snowflake<&C::oauth_client_id>("oauth_client_id", "",
                                     "`oauth_client_credentials`: required. `oauth_authorization_code`: Snowflake's own client, "
                                     "required for another identity provider"),
      snowflake<&C::oauth_client_secret>("oauth_client_secret", "", "that client's secret"),
      snowflake<&C::oauth_authorization_url>("oauth_authorization_url", "Snowflake's", "the identity provider's address"),
      snowflake<&C::oauth_token_request_url>("oauth_token_request_url", "Snowflake's",
                                             "the identity provider's address; `oauth_client_credentials` needs it"),
      snowflake<&C::oauth_redirect_uri>("oauth_redirect_uri", "`http://127.0.0.1:<free port>`",
                                        "as registered with the identity provider"),
      snowflake<&C::oauth_scope>("oauth_scope", "`session:role:<role>`", "as registered with the identity provider"),
      snowflake<&C::workload_identity_provider>("workload_identity_provider", "", "`AWS`, `AZURE`, `GCP` or `OIDC`"),
      snowflake<&C::workload_identity_entra_resource>("workload_identity_entra_resource", "the driver's", "Azure only"),
      snowflake<&C::host>("host", "from the account", "only for a proxy or the sandbox"),
      snowflake<&C::port>("port", "443; 80 for `http`", "only for a proxy or the sandbox"),
      snowflake<&C::protocol>("protocol", "", "`https`; `http` is for a host on this machine (`localhost`, 127.0.0.0/8, `::1`)"),
      snowflake<&C::proxy_host>("proxy_host", "", "HTTP proxy"),
      snowflake<&C::proxy_port>("proxy_port", "none", "HTTP proxy"),
      snowflake<&C::proxy_user>("proxy_user", "", "HTTP proxy"),
      snowflake<&C::proxy_password>("proxy_password", "", "HTTP proxy"),
      snowflake<&C::no_proxy>("no_proxy", "", "hosts that are reached without the proxy"),
      snowflake<&C::login_timeout>("login_timeout", "", "seconds a login may take, retries included"),
      snowflake<&C::external_browser_timeout>("external_browser_timeout", "", "seconds to wait for the person at the browser"),
      snowflake<&C::client_session_keep_alive>("client_session_keep_alive", "",
                                               "heartbeat, so that a night's export does not end at hour four"),
      snowflake<&C::client_store_temporary_credential>("client_store_temporary_credential", "",
                                                       "keep the id token for the next process"),
      session_parameters_row(),
  };
  return kKeys;
}

template <>
std::span<const Key<PostgresConfig>> keys<PostgresConfig>() {
  using C = PostgresConfig;
  static const Key<C> kKeys[] = {
      postgres<&C::uri>("uri", "", "", "`postgresql://user@host/db`"),
      postgres<&C::service>("service", "PGSERVICE", "", "a name in libpq's service file"),
      postgres<&C::host>("host", "PGHOST", "libpq's", "wins over `uri`, as the other single settings do"),
      postgres<&C::port>("port", "PGPORT", "libpq's", "the server's port"),
      postgres<&C::dbname>("dbname", "PGDATABASE", "libpq's", "the database"),
      postgres<&C::user>("user", "PGUSER", "libpq's", "the role that loads"),
      postgres<&C::password>("password", "PGPASSWORD", "libpq's", "its password; `.pgpass` is read too"),
      postgres<&C::sslmode>("sslmode", "PGSSLMODE", "libpq's; for a remote host `verify-full`", "TLS"),
      postgres<&C::sslrootcert>("sslrootcert", "PGSSLROOTCERT", "libpq's; for a remote host the system's certificates", "TLS"),
      postgres<&C::autocommit>("autocommit", "", "", "each load is a transaction of its own"),
      postgres<&C::connect_timeout>("connect_timeout", "", "", "seconds a host"),
      postgres<&C::load_connections>("load_connections", "", "0 (the cores, in `run` one more, at most 4)",
                                     "connections that fill one table in `snowmelt run` and `import`; `--load-connections` wins"),
      ledger_schema_row(),
      postgres<&C::create_schema>("create_schema", "", "", "make a target's schema where it is missing"),
      postgres<&C::wait>("wait", "", "",
                         "how long to wait for another load of the same target, or for another run in the export directory: "
                         "`\"10m\"`, `\"90s\"`, or a number of seconds; 0: not at all. `--wait` wins"),
      publish_lock_timeout_row(),
  };
  return kKeys;
}

template <>
std::span<const Key<ExportConfig>> keys<ExportConfig>() {
  using C = ExportConfig;
  static const Key<C> kKeys[] = {
      exporting<&C::directory>("directory", "", "parts lie in `<directory>/<source>/`"),
      exporting<&C::part_size>("part_size", "", "encoded bytes at which a part file is closed"),
      exporting<&C::threads>("threads", "0 (the cores, or what the control group allows)",
                             "chunks converted and encoded at the same time, all tables together"),
      exporting<&C::downloads>("downloads", "0 (6, or `threads` if more)",
                               "chunks fetched at the same time, all tables together; a slow or distant storage wants more"),
      exporting<&C::memory_limit>("memory_limit",
                                  "0 (a quarter of the memory, of the control group's where that is less; at most 2 GiB)",
                                  "bytes that chunks in hand may take, all tables together; loading reads within it too"),
      exporting<&C::chunk_rate_min>(
          "chunk_rate_min", "", "bytes a second: a chunk that comes more slowly for 30 s is fetched again from the beginning"),
      exporting<&C::chunk_time_max>(
          "chunk_time_max", "",
          "how long one chunk may take, all attempts together: `\"1h\"`, `\"10m\"`, or a number of seconds"),
      exporting<&C::compression_level>("compression_level", "", "of zstd"),
      exporting<&C::permissions>(
          "permissions", "",
          "who may read the export: `private` (files 0600, directories 0700), `group` (0640, 0750), `umask` "
          "(what umask(2) leaves of 0666 and 0777). A directory that exists keeps its mode"),
  };
  return kKeys;
}

template <>
std::span<const Key<TableConfig>> keys<TableConfig>() {
  using T = TableConfig;
  using R = ColumnRules;
  static const Key<T> kKeys[] = {
      table<&T::source>("source", "", "`DATABASE.SCHEMA.TABLE`; unquoted parts fold up, `\"quoted\"` ones are exact"),
      table<&T::query>(
          "query", "",
          "instead of `source`: a SELECT (or SHOW, DESCRIBE, LIST). Snowflake is asked what a query is before it runs; one "
          "that changes anything is refused"),
      table<&T::name>("name", "the folded source", "the name of a query's result; a query needs one"),
      table<&T::target>("target", "the folded source's `schema.table`", "`schema.table` in PostgreSQL; unquoted parts fold down"),
      table<&T::mode>(
          "mode", "",
          "`create`: the table must not exist. `replace`: new content, or a new table; owner, grants, comments, indexes "
          "and views stay. `truncate`: empty the table first; it must exist. `append`: add the rows; one export is added "
          "once, and a run that goes on after a failed one adds no rows again ([errors.md](errors.md))"),
      rule<&R::integers>("integers", "", "NUMBER(p,0) as 64-bit integers (a larger value is refused), or `numeric`"),
      rule<&R::on_subsecond>("on_subsecond", "",
                             "times and timestamps with digits below the microsecond: `error`, `truncate`, `round`, or `nanos` "
                             "(nanoseconds in the Parquet file, years 1677 to 2262)"),
      rule<&R::tz_offset>("tz_offset", "", "also `<column>_tz_offset`, minutes, for TIMESTAMP_TZ"),
      rule<&R::rename>("rename", "", "`{ COLUMN = \"name\" }`: the name in PostgreSQL"),
      types_row(),
      rule<&R::drop>("drop", "", "`[\"COLUMN\", …]`: neither exported nor loaded"),
      rule<&R::on_nul>("on_nul", "",
                       "text with a NUL character, which PostgreSQL's text has not: `error`, `strip`, or `replace` by U+FFFD; in "
                       "jsonb its escape `\\u0000`"),
      rule<&R::on_out_of_range>("on_out_of_range", "", "a number or time outside the target's range: `error`, or `null`"),
  };
  return kKeys;
}

void throw_unknown_key(const std::string& where, std::string_view key, const std::vector<std::string_view>& known) {
  throw ConfigurationError("config.unknown_key", fmt::format("unknown key \"{}\"", key),
                           {.where = where, .hint = fmt::format("the nearest known key is \"{}\"", nearest_word(key, known))});
}

template <typename Section>
const Key<Section>* find_key(std::string_view name) {
  const auto all = keys<Section>();
  const auto found = std::find_if(all.begin(), all.end(), [&](const auto& key) { return key.name == name; });
  return found == all.end() ? nullptr : &*found;
}

template <typename Section>
std::vector<std::string_view> key_names() {
  std::vector<std::string_view> names;
  for (const auto& key : keys<Section>()) names.push_back(key.name);
  return names;
}

template <typename Section>
void set_key(Section& section, const std::string& name, const KeyValue& value) {
  const std::string_view place = section_name<Section>();
  const Key<Section>* key = find_key<Section>(name);
  if (key == nullptr) throw_unknown_key(std::string(place), name, key_names<Section>());
  key->set(*key, section, value, fmt::format("{}.{}", place, name), KeyOrigin::text);
}

#define SNOWMELT_SECTION(Section)                                   \
  template const Key<Section>* find_key<Section>(std::string_view); \
  template std::vector<std::string_view> key_names<Section>();      \
  template void set_key<Section>(Section&, const std::string&, const KeyValue&);
SNOWMELT_SECTION(SnowflakeConfig)
SNOWMELT_SECTION(PostgresConfig)
SNOWMELT_SECTION(ExportConfig)
SNOWMELT_SECTION(TableConfig)
#undef SNOWMELT_SECTION

}  // namespace snowmelt
