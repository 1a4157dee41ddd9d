#include "snowmelt/load/lock_wait.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "snowmelt/duration.h"
#include "snowmelt/error.h"
#include "snowmelt/load/catalog_sql.h"
#include "snowmelt/log.h"
#include "snowmelt/printable.h"
#include "snowmelt/stoppable_pause.h"

namespace snowmelt {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

// Between attempts whoever queued behind us is let through.
constexpr milliseconds kPause{500};
// Whoever waits longer is told for whom.
constexpr milliseconds kFirstAttempt{500};

// Who waits for the same lock before us is in the way too.
constexpr const char* kSomebody =
    "select distinct on (l.pid) l.pid, a.application_name, a.usename, to_char(coalesce(a.xact_start, a.backend_start), "
    "'YYYY-MM-DD "
    "HH24:MI:SS OF'), a.state, l.granted from pg_locks l left join pg_stat_activity a on a.pid = l.pid "
    "where l.pid is distinct from pg_backend_pid() and l.database = (select d.oid from pg_database d where d.datname = "
    "current_database()) and ";

struct LockRequest {
  std::function<void()> take;
  std::string what;     // "the turn to load public.t"
  std::string holders;  // condition of kSomebody, with the parameter $1
  Value holders_parameter;
  milliseconds at_least{0};  // even where nothing is to be waited for
  PostgresConnection* companion = nullptr;
  std::string companion_sql{};
};

// "pid 4242 (psql, user ana, since 2026-11-25 21:04:11+00), idle in transaction"; empty where nobody is left.
std::string holders_of(LoadSession& session, const LockRequest& request) {
  constexpr size_t kNamedMost = 3;
  std::string text;
  const auto found = session.ours(std::string(kSomebody) + "(" + request.holders + ") order by l.pid, l.granted desc limit 10",
                                  {request.holders_parameter});
  for (size_t i = 0; i < found.rows.size() && i < kNamedMost; ++i) {
    const Row& row = found.rows[i];
    text += text.empty() ? "" : "; ";
    if (!row[0]) {
      text += "a prepared transaction (see pg_prepared_xacts)";
      continue;
    }
    text += "pid " + *row[0] + " (" + (row[1].value_or("").empty() ? "no application_name" : *row[1]);
    if (row[2]) text += ", user " + *row[2];
    if (row[3]) text += ", since " + *row[3];
    text += ")";
    if (row[4].value_or("").starts_with("idle in transaction")) text += ", " + *row[4];
    if (*row[5] != "t") text += ", which waits itself";
  }
  if (found.rows.size() > kNamedMost) text += " and others";
  std::string shown = printable(text, "");  // an application_name is anybody's text
  std::replace(shown.begin(), shown.end(), '\n', ' ');
  return shown;
}

void throw_if_stopped(const LoadSession& session, const std::string& display_name) {
  if (session.waiter().stop.stop_requested())
    throw Interrupted("load.stopped", "the load was stopped while it waited; nothing of it stays", {.where = display_name});
}

// A lock that was not free in time, a deadlock that ended with us, a catalog row that somebody else changed first.
bool is_in_the_way(const PostgresError& error) {
  return error.sqlstate() == "55P03" || error.sqlstate() == "40P01" ||
         (error.sqlstate() == "XX000" && error.message().find("tuple concurrently") != std::string::npos);
}

// The companion's lock ends with its transaction, which is begun anew.
void let_companion_go(const LockRequest& request) {
  request.companion->rollback();
  begin_load(*request.companion);
}

bool try_companion(const LockRequest& request, milliseconds limit) {
  if (request.companion == nullptr) return true;
  try {
    request.companion->execute(lock_timeout_statement(limit));
    request.companion->execute(request.companion_sql);
    return true;
  } catch (const PostgresError& error) {
    if (!is_in_the_way(error)) throw;
    let_companion_go(request);
    return false;
  }
}

bool try_lock(LoadSession& session, const LockRequest& request, milliseconds limit) {
  if (!try_companion(request, limit)) return false;
  try {
    session.attempt_within(limit, request.take);
    return true;
  } catch (const PostgresError& error) {
    if (!is_in_the_way(error)) throw;
    if (request.companion != nullptr) let_companion_go(request);
    return false;
  }
}

void wait_for_lock(LoadSession& session, const std::string& display_name, const LockRequest& request) {
  const auto begun = Clock::now();
  const milliseconds limit = std::max(session.settings().wait, request.at_least);
  TableProgress* progress = session.waiter().progress;
  WaitingNote note(progress != nullptr ? &progress->waiting : nullptr);
  std::string told;
  for (;;) {
    throw_if_stopped(session, display_name);
    const auto waited = std::chrono::duration_cast<milliseconds>(Clock::now() - begun);
    const milliseconds left = std::max(limit - waited, milliseconds(0));
    const milliseconds longest = told.empty() ? kFirstAttempt : left;
    if (try_lock(session, request, std::min({left, longest, session.settings().publish_lock_timeout}))) break;
    throw_if_stopped(session, display_name);
    const std::string holders = holders_of(session, request);
    if (Clock::now() - begun >= limit) {
      throw LockedError(
          "load.locked",
          fmt::format("{} could not be had within {}: {}", request.what, duration_text(limit),
                      holders.empty() ? "others had it in turn" : "it is held by " + holders),
          {.where = display_name,
           .hint = "wait for its end and run again, end that session, or wait longer: --wait 1h, or [postgres] wait"});
    }
    if (!holders.empty() && holders != told) {
      log(LogLevel::warning, "{}: waiting for {}, held by {}", display_name, request.what, holders);
      note.set(fmt::format("waiting for {}, held by {}", request.what, holders));
      told = holders;
    }
    pause_unless_stopped(kPause, session.waiter().stop);
  }
  if (!told.empty())
    log(LogLevel::info, "{}: got {} after {:.0f} s", display_name, request.what,
        std::chrono::duration<double>(Clock::now() - begun).count());
}

const char* mode_words(TableLock mode) {
  switch (mode) {
    case TableLock::row_exclusive: return "row exclusive";
    case TableLock::share_row_exclusive: return "share row exclusive";
    case TableLock::access_exclusive: return "access exclusive";
  }
  return "access exclusive";
}

// Held modes that stand against one: table 13.2 of the PostgreSQL 15 manual.
const char* conflicting_modes(TableLock mode) {
  switch (mode) {
    case TableLock::row_exclusive: return "'ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock'";
    case TableLock::share_row_exclusive:
      return "'RowExclusiveLock', 'ShareUpdateExclusiveLock', 'ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', "
             "'AccessExclusiveLock'";
    case TableLock::access_exclusive:
      return "'AccessShareLock', 'RowShareLock', 'RowExclusiveLock', 'ShareUpdateExclusiveLock', 'ShareLock', "
             "'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock'";
  }
  return "";
}

void take_advisory_lock(LoadSession& session, const std::string& name, const std::string& display_name, std::string what) {
  // The two halves of the key are how pg_locks shows it.
  wait_for_lock(session, display_name,
                {.take = [&] { session.ours("select pg_advisory_xact_lock(hashtextextended($1, 0))", {name}); },
                 .what = std::move(what),
                 .holders = "l.locktype = 'advisory' and l.objsubid = 1 and (l.classid::bigint << 32 | l.objid::bigint) = "
                            "hashtextextended($1, 0)",
                 .holders_parameter = name});
}

}  // namespace

void take_turn(LoadSession& session, const std::string& display_name) {
  take_advisory_lock(session, "snowmelt " + display_name, display_name, "the turn to load " + display_name);
}

void take_ledger_turn(LoadSession& session, const std::string& schema) {
  take_advisory_lock(session, "snowmelt ledger " + schema, schema, "the making of the ledger in schema " + schema);
}

void lock_table(LoadSession& session, const std::string& qualified, const std::string& oid, const std::string& display_name,
                TableLock mode, char kind, PostgresConnection* companion) {
  const std::string table = (kind == 'p' ? "" : "only ") + qualified;
  wait_for_lock(
      session, display_name,
      {.take = [&] { session.ours(fmt::format("lock table {} in {} mode", table, mode_words(mode))); },
       .what = "the lock of " + display_name,
       .holders = fmt::format("l.locktype = 'relation' and l.mode in ({}) and l.relation in ({} select part.oid from part)",
                              conflicting_modes(mode), kPartitions),
       .holders_parameter = oid,
       .at_least = session.settings().publish_lock_timeout,
       .companion = companion,
       .companion_sql = fmt::format("lock table only {} in access share mode", qualified)});
}

void publish_in_attempts(LoadSession& session, const std::string& display_name, const std::vector<std::string>& oids,
                         const std::function<void()>& work) {
  // A GRANT or ALTER that is not committed yet holds its row of pg_class, which no lock on the table shows.
  wait_for_lock(
      session, display_name,
      {.take = work,
       .what = "the lock of " + display_name,
       .holders = "l.locktype = 'relation' and (l.relation = any ($1::oid[]) or (l.relation = 'pg_class'::regclass and l.mode "
                  "= 'RowExclusiveLock'))",
       .holders_parameter = fmt::format("{{{}}}", fmt::join(oids, ",")),
       .at_least = session.settings().publish_lock_timeout});
}

}  // namespace snowmelt
