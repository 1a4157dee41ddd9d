#include "snowmelt/load/load_mode.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "snowmelt/error.h"
#include "snowmelt/load/catalog_sql.h"
#include "snowmelt/load/lock_wait.h"
#include "snowmelt/load/staging_table.h"
#include "snowmelt/load/table_swap.h"
#include "snowmelt/log.h"
#include "snowmelt/postgres_name.h"

namespace snowmelt {
namespace {

// Domains are followed to their base type, whose encoding their values have.
constexpr const char* kColumns = R"(
with recursive base as (
  select a.attnum, a.attname, format_type(a.atttypid, a.atttypmod) as declared, a.atttypid as type, a.atttypmod as typmod,
         a.attnotnull as not_null, a.atthasdef or a.attidentity <> '' as has_default, a.attgenerated <> '' as generated
  from pg_attribute a where a.attrelid = $1 and a.attnum > 0 and not a.attisdropped
  union all
  select b.attnum, b.attname, b.declared, t.typbasetype, t.typtypmod, b.not_null or t.typnotnull,
         b.has_default or t.typdefault is not null, b.generated
  from base b join pg_type t on t.oid = b.type where t.typtype = 'd')
select b.attname, b.declared, b.type, b.typmod, t.typtype, case when t.typcategory = 'A' and t.typlen = -1 then t.typelem else 0 end,
       t.typname, b.not_null, b.has_default, b.generated
from base b join pg_type t on t.oid = b.type where t.typtype <> 'd' order by b.attnum)";

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

// What COPY and the publish need of the table's lock. A replace upgrades its own where it has to empty the table.
TableLock lock_of(LoadMode mode) {
  return mode == LoadMode::append     ? TableLock::row_exclusive
         : mode == LoadMode::truncate ? TableLock::access_exclusive
                                      : TableLock::share_row_exclusive;
}

}  // namespace

TableLoad::TableLoad(LoadSession& session, const std::string& target, LoadMode mode)
    : session_(session), mode_(mode), written_(target) {
  find();
}

TableLoad::~TableLoad() = default;

void TableLoad::find() {
  const std::vector<std::string> parts = parse_name(written_, Fold::lower, 2);
  target_.table = parts.back();
  for (const std::string& part : parts) {
    if (part.size() > kPostgresNameBytesMax)
      throw PostgresError(
          "postgres.name_too_long",
          fmt::format("the name {} is longer than the {} bytes that PostgreSQL keeps", part, kPostgresNameBytesMax),
          {.where = written_, .hint = "give the target a shorter name"});
  }
  const std::vector<std::string>& path = session_.schemas();
  const std::vector<std::string> schemas = parts.size() == 2 ? std::vector{parts[0]} : path;
  if (schemas.empty())
    throw PostgresError("postgres.no_schema", "search_path names no schema that exists",
                        {.where = written_, .hint = "write the target as schema.table"});
  target_.schema = schemas.front();
  target_.oid.clear();
  target_.kind = 0;
  const auto found = session_.ours(
      "select n.nspname, c.oid, c.relkind from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.relname = $1",
      {target_.table});
  for (const std::string& schema : schemas) {  // the first schema that has it
    const auto row = std::find_if(found.rows.begin(), found.rows.end(), [&](const Row& one) { return *one[0] == schema; });
    if (row == found.rows.end()) continue;
    target_.schema = schema;
    target_.oid = *(*row)[1];
    target_.kind = (*row)[2]->front();
    break;
  }
  target_.display = target_.schema + "." + target_.table;
  target_.qualified = quote_qualified(target_.schema, target_.table);
}

void TableLoad::refuse_or_accept() const {
  if (exists() && mode_ == LoadMode::create) {
    throw PostgresError("postgres.table_exists",
                        target_.kind == 'r' || target_.kind == 'p'
                            ? "the table exists already"
                            : fmt::format("{} of that name exists already", kind_name(target_.kind)),
                        {.where = target_.display,
                         .hint = "set mode = \"replace\", \"truncate\" or \"append\", or drop it",
                         .sqlstate = "42P07"});
  }
  if (!exists() && (mode_ == LoadMode::truncate || mode_ == LoadMode::append)) {
    throw PostgresError("postgres.table_missing",
                        fmt::format("there is no such table, and mode = \"{}\" makes none", mode_name(mode_)),
                        {.where = target_.display, .hint = "set mode = \"create\" or \"replace\"", .sqlstate = "42P01"});
  }
  if (exists() && target_.kind != 'r' && target_.kind != 'p') {
    throw PostgresError("postgres.not_a_table", fmt::format("the target is {}, which cannot be loaded", kind_name(target_.kind)),
                        {.where = target_.display, .hint = "name a table as target", .sqlstate = "42809"});
  }
}

void TableLoad::look() {
  while (!look_at_what_was_found(/*locked=*/false)) find();
}

bool TableLoad::look_at_what_was_found(bool locked) {
  swap_.reset();
  columns_.clear();
  refuse_or_accept();
  check_server_is_writable(session_, target_);
  if (!exists()) {
    check_table_can_be_made(session_, target_);
    return true;
  }
  if (mode_ == LoadMode::replace) swap_ = TableSwap::plan(session_, target_);
  // PostgreSQL opens the table to write a definition of its indexes: without our lock that would wait for somebody else's.
  if (locked && swap_ != nullptr && !swap_->read_indexes()) swap_.reset();
  if (!check_table_can_be_filled(session_, target_, mode_, swap_ == nullptr)) return false;
  read_columns();
  return true;
}

void TableLoad::take_turn() {
  // Whoever may not write here is told before it waits for others.
  look();
  snowmelt::take_turn(session_, target_.display);
  find();  // another table may answer to the name by now
  sweep_leftovers(session_, target_);
}

void TableLoad::lock(PostgresConnection* companion) {
  for (;;) {
    find();
    if (!exists()) break;
    refuse_or_accept();
    const std::string oid = target_.oid;
    try {
      lock_table(session_, target_.qualified, oid, target_.display, lock_of(mode_), target_.kind, companion);
    } catch (const PostgresError& error) {
      if (error.sqlstate() == "42501" && mode_ == LoadMode::append) break;  // rights on columns only: COPY takes the lock itself
      if (error.sqlstate() != "42P01") throw;                               // dropped between look and lock
      continue;
    }
    find();
    if (target_.oid == oid) break;
  }
  look_at_what_was_found(/*locked=*/true);
  if (mode_ != LoadMode::replace || !exists() || swap_ != nullptr) return;
  // What hangs on the table forbids a new one: this one is emptied, and readers wait until the end. Nobody makes a staging table.
  if (companion != nullptr) companion->rollback();
  lock_table(session_, target_.qualified, target_.oid, target_.display, TableLock::access_exclusive, target_.kind);
  look_at_what_was_found(/*locked=*/true);
  swap_.reset();  // even if it could be swapped by now
}

void TableLoad::read_columns() {
  const auto number = [](const Value& value) { return static_cast<uint32_t>(std::stoul(value.value())); };
  columns_.clear();
  for (const Row& row : session_.ours(kColumns, {target_.oid}).rows) {
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
  // Base types need C functions, which only a superuser makes: whoever has one of this name has the extension's.
  for (const Row& row : session_
                            .ours("select typname, format_type(oid, null) from pg_type "
                                  "where typname in ('vector', 'geometry', 'geography') and typtype = 'b'")
                            .rows) {
    (row[0] == "vector" ? types.vector : row[0] == "geometry" ? types.geometry : types.geography) = *row[1];
  }
  return types;
}

bool TableLoad::already_loaded(const std::string& export_id) {
  LoadLedger ledger(session_);
  if (ledger.missing()) ledger.make();
  if (ledger.foreign()) ledger.throw_foreign(target_.display);
  if (!ledger.usable()) {
    log(LogLevel::warning, "{}: adding the rows without a ledger: a repetition would add them again ({})", target_.display,
        ledger.reason());
    return false;
  }
  return ledger.loaded_of(target_.oid, {export_id}, target_.display).has_value();
}

std::optional<std::string> TableLoad::loaded_of(const std::vector<std::string>& export_ids) {
  LoadLedger ledger(session_);
  if (ledger.foreign()) ledger.throw_foreign(target_.display);
  if (!ledger.usable()) return std::nullopt;
  return ledger.loaded_of(target_.oid, export_ids, target_.display);
}

std::string TableLoad::table_ddl(const std::string& qualified, const std::vector<NewColumn>& new_table) const {
  std::string columns;
  for (const NewColumn& column : new_table) {
    columns += fmt::format("{}{} {}{}", columns.empty() ? "" : ", ", quote_identifier(column.name), column.ddl(),
                           column.not_null ? " not null" : "");
  }
  return fmt::format("create table {} ({})", qualified, columns);
}

bool TableLoad::schema_exists() {
  return only_value(session_.ours("select exists (select from pg_namespace where nspname = $1)", {target_.schema})) == "t";
}

void TableLoad::make_table(const std::vector<NewColumn>& new_table) {
  if (!schema_exists()) session_.ours("create schema if not exists " + quote_identifier(target_.schema));
  session_.users(table_ddl(target_.qualified, new_table));
  target_.oid = only_value(session_.ours("select $1::regclass::oid", {target_.qualified}));
  target_.kind = 'r';
  made_here_ = true;
  read_columns();
}

bool TableLoad::can_stage() {
  if (mode_ != LoadMode::create && mode_ != LoadMode::replace) return false;
  if (!exists()) return schema_exists();  // a schema made in another transaction would stay if the load failed
  return swap_ != nullptr;
}

std::unique_ptr<StagingTable> TableLoad::stage(std::shared_ptr<PostgresConnection> side, const std::vector<NewColumn>& new_table,
                                               const std::vector<std::string>& columns, std::string& copy) {
  std::unique_ptr<StagingTable> staging;
  if (exists()) {
    staging = std::make_unique<StagingTable>(std::move(side), target_, swap_->staging_name(), swap_->staging_ddl());
  } else {
    const std::string name = new_staging_name(target_.table);
    staging_ = quote_qualified(target_.schema, name);
    staging = std::make_unique<StagingTable>(std::move(side), target_, name, table_ddl(staging_, new_table));
    target_.oid = only_value(session_.ours("select $1::regclass::oid", {staging_}));
    target_.kind = 'r';
    made_here_ = true;
    read_columns();
  }
  copy = fmt::format("copy {} ({}) from stdin with (format binary)", staging->qualified(), quoted_list(columns));
  return staging;
}

// Snowflake does not enforce its keys: the data stays when they do not hold.
void TableLoad::add_primary_key(const std::vector<std::string>& columns) {
  try {
    session_.attempt(
        [&] { session_.users(fmt::format("alter table {} add primary key ({})", target_.qualified, quoted_list(columns))); });
  } catch (const PostgresError& error) {
    if (error.connection_lost() || session_.waiter().stop.stop_requested()) throw;
    log(LogLevel::warning, "{}: the table has no primary key ({}): {}", target_.display, fmt::join(columns, ", "),
        error.message());
  }
}

void TableLoad::add_comments(const TableMetadata& metadata) {
  if (!metadata.comment.empty())
    session_.ours(fmt::format("comment on table {} is {}", target_.qualified, quote_literal(metadata.comment)));
  for (const auto& [column, comment] : metadata.column_comments) {
    session_.ours(
        fmt::format("comment on column {}.{} is {}", target_.qualified, quote_identifier(column), quote_literal(comment)));
  }
}

void TableLoad::empty_table() {
  // ONLY: children that inherit are tables that the user did not name. A partitioned table is its partitions.
  session_.users((target_.kind == 'p' ? "truncate table " : "truncate table only ") + target_.qualified);
}

std::optional<std::string> TableLoad::prepare(const std::vector<NewColumn>& new_table, const std::vector<std::string>& columns) {
  if (columns.empty()) throw BugError("load.no_columns", "there is no column to load");
  bool fresh = mode_ != LoadMode::append;
  std::string into = target_.qualified;
  if (!exists()) {
    try {
      session_.attempt([&] { make_table(new_table); });
    } catch (const PostgresError& error) {
      if (error.code() != "postgres.table_exists" || mode_ != LoadMode::replace) throw;
      return std::nullopt;
    }
  } else if (swap_ != nullptr) {
    session_.users(swap_->staging_ddl());
    into = swap_->staging();
  } else if (fresh) {
    empty_table();                // readers wait until the end: they see the old content or the new one
    fresh = target_.kind == 'r';  // COPY FREEZE is not for partitioned tables
  }
  session_.as_user();
  // In a caller's transaction a cursor of his may be open, which FREEZE refuses.
  return fmt::format("copy {} ({}) from stdin with (format binary{})", into, quoted_list(columns),
                     fresh && session_.is_own() ? ", freeze" : "");
}

void TableLoad::name_staging_table() {
  try {
    publish_in_attempts(session_, target_.display, {target_.oid}, [&] {
      session_.ours(fmt::format("alter table {} rename to {}", staging_, quote_identifier(target_.table)));
    });
  } catch (const PostgresError& error) {
    if (error.code() != "postgres.table_exists") throw;
    const char* overtaken = "another session made the table while its rows were loaded; nothing was loaded";
    ErrorFacts facts{.where = target_.display, .hint = "look at that table and run again", .sqlstate = error.sqlstate()};
    if (mode_ == LoadMode::replace) throw LockedError("load.overtaken", overtaken, std::move(facts));
    throw PostgresError(error.code(), overtaken, std::move(facts));
  }
  session_.ours(fmt::format("comment on table {} is null", target_.qualified));
}

void TableLoad::publish(const std::string& export_id, int64_t rows, const TableMetadata& metadata) {
  std::string new_oid = target_.oid;
  if (swap_) new_oid = swap_->publish(rows);
  if (!staging_.empty()) name_staging_table();
  if (made_here_) {
    if (!metadata.primary_key.empty()) add_primary_key(metadata.primary_key);
    add_comments(metadata);
    session_.users("analyze " + target_.qualified);  // plans of the first query would else be guesses
  }
  write_ledger(export_id, rows, new_oid);
}

void TableLoad::write_ledger(const std::string& export_id, int64_t rows, const std::string& new_oid) {
  if (mode_ == LoadMode::append) {
    if (export_id.empty()) return;
    LoadLedger ledger(session_);
    if (ledger.usable()) ledger.note_load(new_oid, target_.display, export_id, rows);
    return;
  }
  // The other modes are the same table whether they are written down or not.
  try {
    session_.attempt([&] {
      LoadLedger ledger(session_);
      if (made_here_ && ledger.missing()) ledger.make();
      if (!ledger.usable()) {
        if (!ledger.missing()) log(LogLevel::info, "{}: not written down in the ledger: {}", target_.display, ledger.reason());
      } else if (made_here_) {
        ledger.note_made(new_oid, target_.display);
      } else if (new_oid != target_.oid) {
        ledger.replaced(target_.oid, new_oid);
      } else {
        ledger.forget_loads(new_oid);
      }
    });
  } catch (const PostgresError& error) {
    if (error.connection_lost() || session_.waiter().stop.stop_requested()) throw;
    log(LogLevel::warning, "{}: not written down in the ledger: {}", target_.display, error.message());
  }
}

std::string TableLoad::skipping_triggers() {
  // BEFORE, ROW and INSERT of pg_trigger.tgtype; a partition's own count too.
  const auto found = session_.ours(std::string(kPartitions) + R"(
select distinct quote_ident(t.tgname) from pg_trigger t join part on t.tgrelid = part.oid
where not t.tgisinternal and t.tgenabled in ('O', 'A') and t.tgtype & 7 = 7 order by 1)",
                                   {target_.oid});
  std::string names;
  for (const Row& row : found.rows) names += (names.empty() ? "" : ", ") + *row[0];
  return names;
}

void make_ledger(PostgresConnection& connection, const LoadSettings& settings, const LoadWaiter& waiter) {
  begin_load(connection);
  try {
    LoadSession session(connection, settings, waiter);
    LoadLedger ledger(session);
    ledger.make();
    commit_aside(connection);
  } catch (const PostgresError& error) {  // the load says what it lacks, if it needs it
    if (!connection.is_open()) throw;
    log(LogLevel::debug, "making the ledger: {}", error.message());
    connection.rollback();
  } catch (...) {
    if (connection.is_open()) connection.rollback();
    throw;
  }
}

}  // namespace snowmelt
