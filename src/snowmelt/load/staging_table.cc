#include "snowmelt/load/staging_table.h"

#include <fmt/format.h>

#include "snowmelt/error.h"
#include "snowmelt/load/catalog_sql.h"
#include "snowmelt/load/name_suffix.h"
#include "snowmelt/log.h"

namespace snowmelt {
namespace {

// A staging table is known by its comment, never by its name alone.
std::string mark_of(const TargetName& target) {
  return "snowmelt is loading " + target.display + " here; left behind when it was killed";
}

}  // namespace

std::string new_staging_name(const std::string& table) { return with_suffix(table, random_suffix()); }

void sweep_leftovers(LoadSession& session, const TargetName& target) {
  constexpr const char* kLeftovers = R"(
select c.relname, c.relowner in (select oid from mine), pg_get_userbyid(c.relowner)
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where n.nspname = $1 and c.relkind = 'r' and obj_description(c.oid, 'pg_class') = $2)";
  for (const Row& row : session.ours(std::string(kMyRoles) + kLeftovers, {target.schema, mark_of(target)}).rows) {
    const std::string leftover = quote_qualified(target.schema, *row[0]);
    const auto warn = [&](const std::string& why) {
      log(LogLevel::warning, "{}: {} is left of a load that was killed, and {}; its owner can: drop table {}", target.display,
          leftover, why, leftover);
    };
    if (*row[1] != "t") {
      warn("belongs to role " + quote_identifier(*row[2]));
      continue;
    }
    try {
      // A backend that is being ended may still hold it.
      session.attempt_within(std::chrono::seconds(1), [&] { session.ours("drop table if exists " + leftover); });
      log(LogLevel::info, "{}: dropped {}, which a load that was killed has left behind", target.display, leftover);
    } catch (const PostgresError& error) {
      if (error.connection_lost() || session.waiter().stop.stop_requested()) throw;
      warn("cannot be dropped (" + error.message() + ")");
    }
  }
}

StagingTable::StagingTable(std::shared_ptr<PostgresConnection> side, const TargetName& target, const std::string& name,
                           const std::string& ddl)
    : side_(std::move(side)), display_name_(target.display), qualified_(quote_qualified(target.schema, name)) {
  side_->execute(ddl);
  side_->execute(fmt::format("comment on table {} is {}", qualified_, quote_literal(mark_of(target))));
  if (side_->in_transaction()) commit_aside(*side_);
}

void StagingTable::discard() noexcept {
  try {
    if (side_->in_transaction()) side_->rollback();
    side_->set_waiter({});  // also after a stop request, whose server has answered so far
    side_->begin();
    // Whatever holds it is being ended; a server that is stuck does not hold us.
    side_->execute("set local lock_timeout = '500ms'");
    side_->execute("drop table if exists " + qualified_);
    side_->commit();
  } catch (const std::exception&) {
    log_message(LogLevel::warning,
                fmt::format("{}: the staging table {} could not be dropped; the next load does", display_name_, qualified_));
  }
}

}  // namespace snowmelt
