#include "snowmelt/load/staging_table.h"

#include <fmt/format.h>

#include "snowmelt/error.h"
#include "snowmelt/log.h"

namespace snowmelt {
namespace {

std::string qualify(const std::string& schema, const std::string& name) {
  return quote_identifier(schema) + "." + quote_identifier(name);
}

std::string lock_name(const std::string& qualified) { return "snowmelt staging " + qualified; }

}  // namespace

StagingTable::StagingTable(PostgresConnection& side, std::string schema, std::string display_name)
    : side_(side), schema_(std::move(schema)), display_name_(std::move(display_name)) {
  drop_leftovers();
}

StagingTable::~StagingTable() {
  if (!made_) return;
  try {
    if (side_.in_transaction()) side_.rollback();
    side_.execute("drop table if exists " + qualified_);
    if (side_.in_transaction()) side_.commit();
  } catch (const std::exception&) {  // the next load into this target finds it by its mark
    log_message(LogLevel::warning,
                fmt::format("{}: the staging table {} could not be dropped; the next load does", display_name_, qualified_));
  }
}

// A staging table is known by its comment, never by its name alone.
std::string StagingTable::mark() const {
  return "snowmelt is loading " + display_name_ + " here; left behind when it was killed";
}

// A load that is alive holds its table's lock; a session that ended has let it go.
void StagingTable::drop_leftovers() {
  const auto found = side_.execute(
      "select c.relname from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace "
      "where n.nspname = $1 and c.relkind = 'r' and pg_catalog.obj_description(c.oid, 'pg_class') = $2",
      {schema_, mark()});
  for (const Row& row : found.rows) {
    const std::string leftover = qualify(schema_, row[0].value());
    const std::string name = lock_name(leftover);
    const auto free = side_.execute("select pg_catalog.pg_try_advisory_lock(pg_catalog.hashtextextended($1, 0))", {name});
    if (free.rows.at(0).at(0).value_or("f") != "t") continue;
    log(LogLevel::info, "{}: dropping {}, which a load that was killed has left behind", display_name_, leftover);
    side_.execute("drop table if exists " + leftover);
    side_.execute("select pg_catalog.pg_advisory_unlock(pg_catalog.hashtextextended($1, 0))", {name});
  }
  if (side_.in_transaction()) side_.commit();
}

void StagingTable::create(const std::string& name, const std::string& ddl) {
  qualified_ = qualify(schema_, name);
  // Of the session, not of a transaction: it ends with the process, whatever ends that.
  side_.execute("select pg_catalog.pg_advisory_lock(pg_catalog.hashtextextended($1, 0))", {lock_name(qualified_)});
  side_.execute(ddl);
  side_.execute(fmt::format("comment on table {} is {}", qualified_, quote_literal(mark())));
  made_ = true;
  if (side_.in_transaction()) side_.commit();
}

}  // namespace snowmelt
