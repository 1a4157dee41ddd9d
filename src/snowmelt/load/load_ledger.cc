#include "snowmelt/load/load_ledger.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "snowmelt/error.h"
#include "snowmelt/load/catalog_sql.h"
#include "snowmelt/load/lock_wait.h"

namespace snowmelt {
namespace {

constexpr const char* kLoads = "loaded_export";
constexpr const char* kMade = "made_table";

struct LedgerTable {
  const char* name;
  const char* columns;  // as kTables lists them
  const char* ddl;
};

// `files` are the table's storage files ("oid:filenode", of every partition): TRUNCATE gives a table new ones.
constexpr std::array kOurTables{
    LedgerTable{
        kLoads, "table_oid oid, export_id text, rows bigint, target text, files text, loaded_at timestamp with time zone",
        "(table_oid oid not null, export_id text not null, rows bigint not null, target text not null, files text not null, "
        "loaded_at timestamptz not null default pg_catalog.now(), primary key (table_oid, export_id))"},
    LedgerTable{kMade, "table_oid oid, target text, made_at timestamp with time zone",
                "(table_oid oid primary key, target text not null, made_at timestamptz not null default pg_catalog.now())"}};

constexpr const char* kTrusted = R"(,
trusted(oid) as (select oid from mine union select r.oid from pg_roles r where r.rolsuper)
)";

// Of a schema: its owner's name, whether that is trusted, and what the current role may do in it.
constexpr const char* kSchema = R"(
select pg_get_userbyid(n.nspowner), n.nspowner in (select oid from trusted), has_schema_privilege(n.oid, 'usage'),
       has_schema_privilege(n.oid, 'create')
from pg_namespace n where n.nspname = $1)";

// A relation of ours: an ordinary table without anything that runs or hides.
constexpr const char* kTables = R"(
select c.relname, pg_get_userbyid(c.relowner), c.relowner in (select oid from trusted),
       c.relkind = 'r' and c.relpersistence = 'p' and not c.relrowsecurity and not c.relispartition
       and not exists (select from pg_trigger t where t.tgrelid = c.oid)
       and not exists (select from pg_rewrite w where w.ev_class = c.oid)
       and not exists (select from pg_inherits i where c.oid in (i.inhrelid, i.inhparent))
       and not exists (select from pg_constraint k where k.conrelid = c.oid and k.contype not in ('p', 'n'))
       and not exists (select from pg_index x where x.indrelid = c.oid and not x.indisprimary),
       (select coalesce(string_agg(a.attname || ' ' || format_type(a.atttypid, a.atttypmod), ', ' order by a.attnum), '')
        from pg_attribute a where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped),
       has_table_privilege(c.oid, 'select') and has_table_privilege(c.oid, 'insert') and has_table_privilege(c.oid, 'update')
       and has_table_privilege(c.oid, 'delete')
from pg_class c join pg_namespace n on n.oid = c.relnamespace where n.nspname = $1 and c.relname = any (string_to_array($2, ',')))";

// Tables that were dropped. Another load that is at the same rows is not waited for.
constexpr const char* kForgetGone =
    "delete from {0} where ctid in (select l.ctid from {0} l where not exists (select from pg_class c where c.oid = l.table_oid) "
    "for "
    "update skip locked)";

std::string current_role(LoadSession& session) { return only_value(session.ours("select current_user")); }

}  // namespace

LoadLedger::LoadLedger(LoadSession& session)
    : session_(session), schema_(session.settings().ledger_schema), quoted_(quote_identifier(schema_)) {
  look();
  if (!usable()) return;
  // Held to the end of the transaction: what is looked at next is what will be written.
  for (const LedgerTable& ours : kOurTables) {
    const std::string oid = only_value(session_.ours("select $1::regclass::oid", {table(ours.name)}));
    lock_table(session_, table(ours.name), oid, table(ours.name), TableLock::row_exclusive);
  }
  look();
}

std::string LoadLedger::table(const char* name) const { return quoted_ + "." + name; }

void LoadLedger::set(Problem problem, std::string reason) {
  problem_ = problem;
  reason_ = std::move(reason);
}

void LoadLedger::look() {
  const auto schema = session_.ours(std::string(kMyRoles) + kTrusted + kSchema, {schema_});
  if (schema.rows.empty()) {
    if (only_value(session_.ours("select has_database_privilege(current_database(), 'create')")) == "t")
      return set(Problem::missing, "");
    const std::string role = current_role(session_);
    return set(Problem::forbidden,
               fmt::format("role {} may not make schema {}; an administrator can: create schema {} authorization {}",
                           quote_identifier(role), quoted_, quoted_, quote_identifier(role)));
  }
  const Row& facts = schema.rows[0];
  if (*facts[1] != "t")
    return set(Problem::foreign, fmt::format("schema {} belongs to role {}", quoted_, quote_identifier(*facts[0])));
  const bool may_use = *facts[2] == "t", may_make = *facts[3] == "t";

  std::vector<std::string> names;
  for (const LedgerTable& ours : kOurTables) names.emplace_back(ours.name);
  const auto tables =
      session_.ours(std::string(kMyRoles) + kTrusted + kTables, {schema_, fmt::format("{}", fmt::join(names, ","))});
  bool may_write = may_use;
  for (const Row& row : tables.rows) {
    const auto ours =
        std::find_if(kOurTables.begin(), kOurTables.end(), [&](const LedgerTable& one) { return *row[0] == one.name; });
    if (*row[2] != "t")
      return set(Problem::foreign, fmt::format("{} belongs to role {}", table(ours->name), quote_identifier(*row[1])));
    if (*row[3] != "t" || *row[4] != ours->columns)
      return set(Problem::foreign, fmt::format("{} is not as snowmelt makes it", table(ours->name)));
    may_write = may_write && *row[5] == "t";
  }
  const bool complete = tables.rows.size() == kOurTables.size();
  if (complete ? may_write : may_use && may_make) return set(complete ? Problem::none : Problem::missing, "");
  const std::string role = quote_identifier(current_role(session_));
  const std::string grant = fmt::format("grant usage{} on schema {} to {}", complete ? "" : ", create", quoted_, role);
  set(Problem::forbidden, fmt::format("role {} may not {} snowmelt's tables in schema {}; its owner can: {}{}", role,
                                      complete ? "write" : "make", quoted_, grant,
                                      complete ? fmt::format("; grant select, insert, update, delete on {}, {} to {}",
                                                             table(kLoads), table(kMade), role)
                                               : ""));
}

void LoadLedger::make() {
  if (!missing()) return;
  // Two first loads at once would both make it, and one would fail.
  take_ledger_turn(session_, schema_);
  look();
  if (!missing()) return;
  // IF NOT EXISTS asks for the right to make schemas even where there is nothing to make.
  if (session_.ours("select from pg_namespace where nspname = $1", {schema_}).rows.empty())
    session_.ours("create schema " + quoted_);
  for (const LedgerTable& ours : kOurTables)
    session_.ours(fmt::format("create table if not exists {} {}", table(ours.name), ours.ddl));
  session_.ours(fmt::format("comment on table {} is 'snowmelt: the exports that append added to a table'", table(kLoads)));
  session_.ours(fmt::format("comment on table {} is 'snowmelt: the tables it made'", table(kMade)));
  look();
}

void LoadLedger::throw_foreign(const std::string& display_name) const {
  throw PostgresError(
      "load.foreign_ledger",
      fmt::format("the ledger is not this role's to use: {}, which is neither this role, nor one that it is a member "
                  "of, nor a superuser, or it was changed",
                  reason_),
      {.where = display_name, .hint = "set [postgres] ledger_schema to a schema of your own, or drop what is there"});
}

// Leaves of the table with their storage files.
std::string LoadLedger::files_of(const std::string& oid) {
  return only_value(session_.ours(std::string(kPartitions) + R"(
select coalesce(string_agg(c.oid || ':' || c.relfilenode, ',' order by c.oid), '') from part join pg_class c on c.oid = part.oid
where c.relkind = 'r')",
                                  {oid}));
}

std::optional<std::string> LoadLedger::loaded_of(const std::string& oid, const std::vector<std::string>& export_ids,
                                                 const std::string& display_name) {
  const auto found = session_.ours(
      fmt::format(
          "select export_id, string_to_array(files, ',') <@ string_to_array($3, ','), to_char(loaded_at, 'YYYY-MM-DD HH24:MI') "
          "from {} where table_oid = $1::oid and export_id = any (string_to_array($2, ',')) order by loaded_at desc limit 1",
          table(kLoads)),
      {oid, fmt::format("{}", fmt::join(export_ids, ",")), files_of(oid)});
  if (found.rows.empty()) return std::nullopt;
  const Row& row = found.rows[0];
  if (*row[1] == "t") return row[0];
  // Emptied (TRUNCATE) or rewritten (VACUUM FULL, ALTER TABLE, a lost partition): an empty table tells.
  const std::string qualified =
      only_value(session_.ours("select format('%I.%I', n.nspname, c.relname) from pg_class c join pg_namespace n on n.oid = "
                               "c.relnamespace where c.oid = $1::oid",
                               {oid}));
  const bool may_read = only_value(session_.ours("select has_table_privilege($1::oid, 'select')", {oid})) == "t";
  const auto empty = session_.ours(std::string(kPartitions) + R"(
select coalesce(sum(pg_relation_size(part.oid)), 0) = 0 from part)",
                                   {oid});
  // Without the right to read: a file without a byte. Else: no row.
  if (only_value(empty) == "t" || (may_read && session_.users("select from " + qualified + " limit 1").rows.empty())) {
    forget_loads(oid);
    return std::nullopt;
  }
  throw PostgresError(
      "load.table_rewritten",
      fmt::format(
          "export {} was added on {}, and since then somebody has emptied or rewritten the table (truncate, vacuum full, alter "
          "table, …): whether its rows are still there cannot be told",
          *row[0], *row[2]),
      {.where = display_name,
       .hint = fmt::format("look at the table; to add the rows again: delete from {} where export_id in ({})", table(kLoads),
                           quote_literal(*row[0]))});
}

void LoadLedger::note_load(const std::string& oid, const std::string& display_name, const std::string& export_id, int64_t rows) {
  // Tables that are gone are forgotten on the way.
  session_.ours(fmt::format(kForgetGone, table(kLoads)));
  session_.ours(fmt::format("insert into {} (table_oid, export_id, rows, target, files) values ($1::oid, $2, $3::bigint, $4, $5)",
                            table(kLoads)),
                {oid, export_id, std::to_string(rows), display_name, files_of(oid)});
}

void LoadLedger::forget_loads(const std::string& oid) {
  session_.ours(fmt::format("delete from {} where table_oid = $1::oid", table(kLoads)), {oid});
}

void LoadLedger::note_made(const std::string& oid, const std::string& display_name) {
  session_.ours(fmt::format(kForgetGone, table(kMade)));
  session_.ours(fmt::format("insert into {} (table_oid, target) values ($1::oid, $2) on conflict do nothing", table(kMade)),
                {oid, display_name});
}

void LoadLedger::replaced(const std::string& from, const std::string& to) {
  forget_loads(from);
  session_.ours(fmt::format("update {} set table_oid = $2::oid where table_oid = $1::oid", table(kMade)), {from, to});
}

}  // namespace snowmelt
