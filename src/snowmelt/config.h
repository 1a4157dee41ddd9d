// Every setting, with its default. Names are those of the TOML keys; docs/configuration.md is the user's view.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "snowmelt/file_permissions.h"
#include "snowmelt/secret.h"

namespace snowmelt {

// [snowflake]: keys as in Snowflake's connections.toml.
struct SnowflakeConfig {
  std::string connection;  // the entry of connections.toml or config.toml below all other keys
  std::string account;
  std::string user;
  Secret password;
  std::string authenticator = "snowflake";  // snowflake | snowflake_jwt | externalbrowser | … (connections/snowflake_auth)
  std::string database;
  std::string schema;
  std::string warehouse;
  std::string role;

  std::string private_key_file;  // PEM, PKCS#8 or PKCS#1
  Secret private_key_file_pwd;
  Secret token;
  std::string token_file_path;
  Secret passcode;

  // Only for the two OAuth methods that fetch their token themselves; empty addresses are Snowflake's own.
  std::string oauth_client_id;
  Secret oauth_client_secret;
  std::string oauth_authorization_url;
  std::string oauth_token_request_url;
  std::string oauth_redirect_uri;
  std::string oauth_scope;

  std::string workload_identity_provider;  // AWS | AZURE | GCP | OIDC
  std::string workload_identity_entra_resource;

  // Only for a proxy or the sandbox.
  std::string host;
  int port = 0;  // 0: 443 for https, 80 for http
  std::string protocol = "https";
  std::string proxy_host;
  int proxy_port = 0;
  std::string proxy_user;
  Secret proxy_password;
  std::string no_proxy;

  int login_timeout = 60;              // seconds a login may take, retries included
  int external_browser_timeout = 120;  // seconds to wait for the person at the browser
  bool client_session_keep_alive = true;
  bool client_store_temporary_credential = true;  // keep the id token for the next process

  std::map<std::string, std::string> session_parameters;
};

// How a load behaves towards others who use the same server.
struct LoadSettings {
  std::string ledger_schema = "snowmelt";   // of our own tables (load/load_ledger.h); folded: the name as pg_namespace has it
  bool create_schema = false;               // make a target's schema that is not there
  std::chrono::milliseconds wait{600'000};  // for another load of the target or another use of the directory; 0: not at all
  std::chrono::milliseconds publish_lock_timeout{2'000};  // readers queue behind a publish for so long at a time; not 0
};

// [postgres]: uri or service, else single keys, else libpq's own PG* variables and .pgpass.
struct PostgresConfig : LoadSettings {
  Secret uri;  // may hold a password
  std::string service;
  std::string host;
  std::string port;
  std::string dbname;
  std::string user;
  Secret password;
  std::string sslmode;
  std::string sslrootcert;
  bool autocommit = false;
  int connect_timeout = 15;  // seconds
  int load_connections = 0;  // of the command line, for one table; 0: by the cores
};

enum class LoadMode { create, replace, truncate, append };
enum class IntegerMode { bigint, numeric };                  // NUMBER(p,0): INT64, or DECIMAL(p,0)
enum class SubsecondMode { error, truncate, round, nanos };  // digits below the microsecond

enum class NulMode { error, strip, replace };  // U+0000 in text; replaced by U+FFFD
enum class RangeMode { error, null };          // a value outside the target's range

// What [[table]] says of columns and their values. One struct, read by both halves. Columns are named as in the source, without
// regard to case where only one answers.
struct ColumnRules {
  IntegerMode integers = IntegerMode::bigint;
  SubsecondMode on_subsecond = SubsecondMode::error;
  bool tz_offset = false;                          // also write <col>_tz_offset for TIMESTAMP_TZ
  std::map<std::string, std::string> rename = {};  // to the name in PostgreSQL
  std::map<std::string, std::string> types = {};   // PostgreSQL types for a table that snowmelt makes
  std::vector<std::string> drop = {};              // neither exported nor loaded
  NulMode on_nul = NulMode::error;
  RangeMode on_out_of_range = RangeMode::error;
};

// [[table]], and [defaults] for all of them.
struct TableConfig {
  std::string source;  // as written by the user; empty when `query` is given
  std::string query;
  std::string name;    // of a query's result; of a table: its folded source
  std::string target;  // schema.table in PostgreSQL
  LoadMode mode = LoadMode::create;
  ColumnRules rules;
};

// [export]
struct ExportConfig {
  std::filesystem::path directory = "export";  // parts lie under <directory>/<source>/
  int64_t part_size = 32 << 20;                // encoded bytes at which a part is closed, if two chunks do not close it before
  int threads = 0;                             // that convert and encode; 0: as many as cores
  int downloads = 0;                           // chunks fetched at once; 0: six, or `threads` where that is more
  int64_t memory_limit = 0;                    // bytes for chunks in hand; 0: a quarter of the memory, at most 2 GiB
  int64_t chunk_rate_min = 10'000;             // bytes a second; a slower transfer of a chunk is begun again
  std::chrono::milliseconds chunk_time_max{3'600'000};  // for one chunk, all attempts together
  int compression_level = 1;                            // zstd
  FilePermissions permissions = FilePermissions::private_;
};

struct Config {
  SnowflakeConfig snowflake;
  PostgresConfig postgres;
  ExportConfig export_;
  std::vector<TableConfig> tables;
};

// A Snowflake or PostgreSQL name in its parts, outermost first; unquoted parts folded (up: Snowflake, down: PostgreSQL).
enum class Fold { upper, lower };
// Throws ConfigurationError for text that is not a dotted name of 1 to `parts_max` parts.
std::vector<std::string> parse_name(const std::string& text, Fold fold, size_t parts_max = 3);

// One part as parse_name(…, Fold::lower) reads it again: quoted where it is not plain.
std::string written_name(const std::string& name);

// The default target of a Snowflake column or table name: [A-Z_][A-Z0-9_$]* goes down, every other name stays.
std::string fold_to_postgres(const std::string& name);

// The named connection (connections_file.h), on it `file` (a missing default file is fine, a named one must exist), then
// the environment on top.
// Throws ConfigurationError naming file, key and the nearest known key.
Config load_config(const std::optional<std::filesystem::path>& file = std::nullopt);

// Folds the name and fills in the target as [[table]] says; `where` is for messages.
void complete_table(const Config& config, TableConfig& table, const std::string& where);

// Completes names and targets and refuses what cannot work before any network: no tables, two tables with one target,
// source and query both given, …
void validate_tables(Config& config);

}  // namespace snowmelt
