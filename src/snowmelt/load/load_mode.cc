#include "snowmelt/load/load_mode.h"

#include <fmt/format.h>

#include <map>

#include "snowmelt/error.h"
#include "snowmelt/load/staging_table.h"
#include "snowmelt/load/table_swap.h"
#include "snowmelt/log.h"

namespace snowmelt {
namespace {

constexpr const char* kLedgerName = "snowmelt_ledger";

// Domains are followed to their base type, whose encoding their values have.
constexpr const char* kColumns = R"(
with recursive base as (
  select a.attnum, a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod) as declared, a.atttypid as type, a.atttypmod as typmod,
         a.attnotnull as not_null, a.atthasdef or a.attidentity <> '' as has_default, a.attgenerated <> '' as generated
  from pg_catalog.pg_attribute a where a.attrelid = $1 and a.attnum > 0 and not a.attisdropped
  union all
  select b.attnum, b.attname, b.declared, t.typbasetype, t.typtypmod, b.not_null or t.typnotnull,
         b.has_default or t.typdefault is not null, b.generated
  from base b join pg_catalog.pg_type t on t.oid = b.type where t.typtype = 'd')
select b.attname, b.declared, b.type, b.typmod, t.typtype, case when t.typcategory = 'A' and t.typlen = -1 then t.typelem else 0 end,
       t.typname, b.not_null, b.has_default, b.generated
from base b join pg_catalog.pg_type t on t.oid = b.type where t.typtype <> 'd' order by b.attnum)";

std::string kind_name(char kind) {
  static const std::map<char, std::string> names{
      {'v', "a view"},   {'m', "a materialized view"}, {'f', "a foreign table"}, {'S', "a sequence"}, {'i', "an index"},
      {'I', "an index"}, {'c', "a composite type"}};
  const auto found = names.find(kind);
  return found == names.end() ? "no table" : found->second;
}

std::string mode_name(LoadMode mode) {
  return mode == LoadMode::create     ? "create"
         : mode == LoadMode::replace  ? "replace"
         : mode == LoadMode::truncate ? "truncate"
                                      : "append";
}

std::string quoted_list(const std::vector<std::string>& names) {
  std::string list;
  for (const std::string& name : names) list += (list.empty() ? "" : ", ") + quote_identifier(name);
  return list;
}

}  // namespace

TableLoad::TableLoad(PostgresConnection& connection, const std::string& target, LoadMode mode)
    : connection_(connection), mode_(mode) {
  find(target);
  refuse_or_accept();
  if (exists()) read_columns(connection_);
}

TableLoad::~TableLoad() = default;

void TableLoad::find(const std::string& target) {
  const std::vector<std::string> parts = parse_name(target, Fold::lower, 2);
  table_ = parts.back();
  constexpr const char* kFind = R"(
select n.nspname, c.oid, c.relkind from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where c.relname = $1 and n.nspname = any (case when $2::text is null then pg_catalog.current_schemas(false) else array[$2::name] end)
order by pg_catalog.array_position(pg_catalog.current_schemas(false), n.nspname) limit 1)";
  const Value schema = parts.size() == 2 ? Value(parts[0]) : std::nullopt;
  const auto found = connection_.execute(kFind, {table_, schema});
  if (!found.rows.empty()) {
    schema_ = *found.rows[0][0];
    oid_ = *found.rows[0][1];
    kind_ = (*found.rows[0][2])[0];
  } else if (schema) {
    schema_ = *schema;
  } else {
    const Value current = connection_.execute("select pg_catalog.current_schema()").rows.at(0).at(0);
    if (!current)
      throw PostgresError("postgres.no_schema", "search_path names no schema that exists",
                          {.where = target, .hint = "write the target as schema.table"});
    schema_ = *current;
  }
  display_name_ = schema_ + "." + table_;
  qualified_ = quote_identifier(schema_) + "." + quote_identifier(table_);
}

void TableLoad::refuse_or_accept() {
  if (exists() && mode_ == LoadMode::create) {
    throw PostgresError(
        "postgres.table_exists",
        kind_ == 'r' || kind_ == 'p' ? "the table exists already"
                                     : fmt::format("{} of that name exists already", kind_name(kind_)),
        {.where = display_name_, .hint = "set mode = \"replace\", \"truncate\" or \"append\", or drop it", .sqlstate = "42P07"});
  }
  if (!exists() && (mode_ == LoadMode::truncate || mode_ == LoadMode::append)) {
    throw PostgresError("postgres.table_missing",
                        fmt::format("there is no such table, and mode = \"{}\" makes none", mode_name(mode_)),
                        {.where = display_name_, .hint = "set mode = \"create\" or \"replace\"", .sqlstate = "42P01"});
  }
  if (exists() && kind_ != 'r' && kind_ != 'p') {
    throw PostgresError("postgres.not_a_table", fmt::format("the target is {}, which cannot be loaded", kind_name(kind_)),
                        {.where = display_name_, .hint = "name a table as target", .sqlstate = "42809"});
  }
}

void TableLoad::read_columns(PostgresConnection& connection) {
  const auto number = [](const Value& value) { return static_cast<uint32_t>(std::stoul(value.value())); };
  columns_.clear();
  for (const Row& row : connection.execute(kColumns, {oid_}).rows) {
    columns_.push_back({.name = *row[0],
                        .type = *row[1],
                        .type_oid = number(row[2]),
                        .typmod = std::stoi(*row[3]),
                        .kind = (*row[4])[0],
                        .element_oid = number(row[5]),
                        .base_name = *row[6],
                        .not_null = *row[7] == "t",
                        .has_default = *row[8] == "t",
                        .generated = *row[9] == "t"});
  }
}

ExtensionTypes TableLoad::extension_types() {
  ExtensionTypes types;
  // Base types need C functions: whoever has one of this name has the extension's.
  for (const Row& row : connection_
                            .execute("select typname, pg_catalog.format_type(oid, null) from pg_catalog.pg_type "
                                     "where typname in ('vector', 'geometry', 'geography') and typtype = 'b'")
                            .rows) {
    (row[0] == "vector" ? types.vector : row[0] == "geometry" ? types.geometry : types.geography) = *row[1];
  }
  return types;
}

void TableLoad::wait_for_turn() {
  const std::string name = "snowmelt " + display_name_;
  const auto tried =
      connection_.execute("select pg_catalog.pg_try_advisory_xact_lock(pg_catalog.hashtextextended($1, 0))", {name});
  if (tried.rows.at(0).at(0) == "t") return;
  log(LogLevel::warning, "{}: another load adds to the table; waiting for its end", display_name_);
  connection_.execute("select pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended($1, 0))", {name});
}

std::string TableLoad::ledger() const { return quote_identifier(schema_) + "." + kLedgerName; }

bool TableLoad::has_ledger() {
  return connection_.execute("select pg_catalog.to_regclass($1)", {ledger()}).rows.at(0).at(0).has_value();
}

bool TableLoad::already_loaded(const std::string& export_id) {
  // Two first loads at once would both make the ledger, and one would fail; two loads of one export would both append it.
  wait_for_turn();
  connection_.execute("select pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended($1, 0))",
                      {"snowmelt ledger " + schema_});
  if (!has_ledger()) {
    connection_.execute(
        "create table " + ledger() +
        " (target text, export_id text, rows bigint not null, loaded_at timestamptz not null default pg_catalog.now(), "
        "primary key (target, export_id))");
  }
  return loaded_of({export_id}).has_value();
}

std::optional<std::string> TableLoad::loaded_of(const std::vector<std::string>& export_ids) {
  if (!has_ledger()) return std::nullopt;
  const auto found = connection_.execute(
      "select export_id from " + ledger() +
          " where target = $1 and export_id = any (pg_catalog.string_to_array($2, ',')) order by loaded_at desc limit 1",
      {table_, fmt::format("{}", fmt::join(export_ids, ","))});
  return found.rows.empty() ? std::nullopt : found.rows[0][0];
}

std::string TableLoad::table_ddl(const std::string& qualified, const std::vector<NewColumn>& new_table) const {
  std::string columns;
  for (const NewColumn& column : new_table) {
    columns += fmt::format("{}{} {}{}", columns.empty() ? "" : ", ", quote_identifier(column.name), column.type,
                           column.not_null ? " not null" : "");
  }
  return fmt::format("create table {} ({})", qualified, columns);
}

bool TableLoad::schema_exists() {
  return !connection_.execute("select from pg_catalog.pg_namespace where nspname = $1", {schema_}).rows.empty();
}

void TableLoad::make_table(const std::vector<NewColumn>& new_table) {
  if (!schema_exists()) connection_.execute("create schema if not exists " + quote_identifier(schema_));
  connection_.execute(table_ddl(qualified_, new_table));
  oid_ = connection_.execute("select $1::pg_catalog.regclass::pg_catalog.oid", {qualified_}).rows.at(0).at(0).value();
  kind_ = 'r';
  made_here_ = true;
  read_columns(connection_);
}

bool TableLoad::can_stage() {
  if (mode_ != LoadMode::create && mode_ != LoadMode::replace) return false;
  if (!exists()) return schema_exists();  // a schema made in another transaction would stay if the load failed
  swap_ = TableSwap::plan(connection_, oid_, schema_, table_);
  return swap_ != nullptr;
}

std::string TableLoad::stage(StagingTable& staging, const std::vector<NewColumn>& new_table,
                             const std::vector<std::string>& columns) {
  // This transaction waits for the others to fill the table, and may not be ended for idling.
  connection_.execute("set local idle_in_transaction_session_timeout = 0");
  if (exists()) {
    // Made before the target is locked: whoever waits for the target meanwhile must not stand between the two connections.
    staging.create(swap_->staging_name(), swap_->staging_ddl());
    swap_->lock_target();
  } else {
    const std::string name = new_staging_name(table_);
    staging_ = quote_identifier(schema_) + "." + quote_identifier(name);
    staging.create(name, table_ddl(staging_, new_table));
    PostgresConnection& side = staging.side();
    oid_ = side.execute("select $1::pg_catalog.regclass::pg_catalog.oid", {staging_}).rows.at(0).at(0).value();
    kind_ = 'r';
    made_here_ = true;
    read_columns(side);
    if (side.in_transaction()) side.commit();
  }
  return fmt::format("copy {} ({}) from stdin with (format binary)", staging.qualified(), quoted_list(columns));
}

// Snowflake does not enforce its keys: the data stays when they do not hold.
void TableLoad::add_primary_key(const std::vector<std::string>& columns) {
  connection_.execute("savepoint snowmelt_key");
  try {
    connection_.execute(fmt::format("alter table {} add primary key ({})", qualified_, quoted_list(columns)));
    connection_.execute("release savepoint snowmelt_key");
  } catch (const PostgresError& error) {
    connection_.execute("rollback to savepoint snowmelt_key");
    log(LogLevel::warning, "{}: the table has no primary key ({}): {}", display_name_, fmt::join(columns, ", "), error.message());
  }
}

void TableLoad::add_comments(const TableMetadata& metadata) {
  if (!metadata.comment.empty())
    connection_.execute(fmt::format("comment on table {} is {}", qualified_, quote_literal(metadata.comment)));
  for (const auto& [column, comment] : metadata.column_comments) {
    connection_.execute(
        fmt::format("comment on column {}.{} is {}", qualified_, quote_identifier(column), quote_literal(comment)));
  }
}

void TableLoad::empty_table() {
  const auto referencing = connection_.execute(
      "select distinct k.conrelid::pg_catalog.regclass::text from pg_catalog.pg_constraint k where k.confrelid = $1 and "
      "k.contype = 'f' and k.conrelid <> $1",
      {oid_});
  if (!referencing.rows.empty()) {
    std::string tables;
    for (const Row& row : referencing.rows) tables += (tables.empty() ? "" : ", ") + *row[0];
    throw PostgresError(
        "postgres.referenced", fmt::format("foreign keys of {} refer to the table, so it cannot be emptied", tables),
        {.where = display_name_, .hint = "drop those foreign keys first, or use mode = \"append\"", .sqlstate = "0A000"});
  }
  connection_.execute("truncate table " + qualified_);
}

std::string TableLoad::prepare(const std::vector<NewColumn>& new_table, const std::vector<std::string>& columns) {
  if (columns.empty()) throw BugError("load.no_columns", "there is no column to load");
  bool fresh = mode_ != LoadMode::append;
  std::string into = qualified_;
  if (!exists()) {
    make_table(new_table);
  } else if (mode_ == LoadMode::replace && (swap_ = TableSwap::plan(connection_, oid_, schema_, table_)) != nullptr) {
    swap_->make_staging();
    into = swap_->staging();
  } else if (fresh) {
    empty_table();         // readers wait until the end: they see the old content or the new one
    fresh = kind_ == 'r';  // COPY FREEZE is not for partitioned tables
  }
  return fmt::format("copy {} ({}) from stdin with (format binary{})", into, quoted_list(columns), fresh ? ", freeze" : "");
}

void TableLoad::publish(const std::string& export_id, int64_t rows, const TableMetadata& metadata) {
  if (swap_) swap_->publish();
  if (!staging_.empty()) {
    connection_.execute(fmt::format("alter table {} rename to {}", staging_, quote_identifier(table_)));
    connection_.execute(fmt::format("comment on table {} is null", qualified_));
  }
  if (made_here_) {
    if (!metadata.primary_key.empty()) add_primary_key(metadata.primary_key);
    add_comments(metadata);
  }
  if (mode_ != LoadMode::append || export_id.empty()) return;
  connection_.execute(fmt::format("insert into {} (target, export_id, rows) values ($1, $2, $3)", ledger()),
                      {table_, export_id, std::to_string(rows)});
}

}  // namespace snowmelt
