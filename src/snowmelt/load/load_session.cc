#include "snowmelt/load/load_session.h"

#include <fmt/format.h>

#include <algorithm>

#include "snowmelt/error.h"

namespace snowmelt {
namespace {

constexpr const char* kSetTimeouts =
    "select pg_catalog.set_config('statement_timeout', $1, true), pg_catalog.set_config('lock_timeout', $2, true), "
    "pg_catalog.set_config('idle_in_transaction_session_timeout', $3, true)";

}  // namespace

LoadSession::LoadSession(PostgresConnection& connection, LoadSettings settings, LoadWaiter waiter)
    : connection_(connection), settings_(std::move(settings)), waiter_(std::move(waiter)) {
  // Under a search_path that may be hostile: no operator, and every name qualified.
  search_path_ = only_value(connection_.execute("show search_path"));
  for (const Row& row : connection_.execute("select pg_catalog.unnest(pg_catalog.current_schemas(false))").rows) {
    schemas_.push_back(row.at(0).value());
  }
}

PostgresConnection::Result LoadSession::ours(std::string_view sql, const std::vector<Value>& parameters) {
  use(Path::ours);
  return connection_.execute(sql, parameters);
}

PostgresConnection::Result LoadSession::users(std::string_view sql, const std::vector<Value>& parameters) {
  use(Path::users);
  return connection_.execute(sql, parameters);
}

void LoadSession::as_user() { use(Path::users); }

void LoadSession::use(Path path) {
  if (path_ == path) return;
  if (path == Path::ours)
    connection_.execute("set local search_path = pg_catalog, pg_temp");
  else
    connection_.execute("select pg_catalog.set_config('search_path', $1, true)", {search_path_});
  path_ = path;
}

void LoadSession::attempt(const std::function<void()>& work) {
  connection_.execute("savepoint snowmelt_attempt");
  try {
    work();
  } catch (...) {
    path_ = Path::unknown;
    if (connection_.is_open()) connection_.rollback_to("snowmelt_attempt");
    throw;
  }
  connection_.execute("release savepoint snowmelt_attempt");
}

void LoadSession::attempt_within(std::chrono::milliseconds limit, const std::function<void()>& work) {
  attempt([&] {
    const std::string before = only_value(ours("show lock_timeout"));
    ours(lock_timeout_statement(limit));
    work();
    ours("select set_config('lock_timeout', $1, true)", {before});
  });
}

void LoadSession::lift_timeouts() {
  timeouts_ = connection_
                  .execute(
                      "select pg_catalog.current_setting('statement_timeout'), pg_catalog.current_setting('lock_timeout'), "
                      "pg_catalog.current_setting('idle_in_transaction_session_timeout')")
                  .rows.at(0);
  snowmelt::lift_timeouts(connection_);
}

void LoadSession::give_back() {
  use(Path::users);
  if (!timeouts_.empty()) connection_.execute(kSetTimeouts, timeouts_);
}

void lift_timeouts(PostgresConnection& connection) { connection.execute(kSetTimeouts, {"0", "0", "0"}); }

std::string lock_timeout_statement(std::chrono::milliseconds limit) {
  return fmt::format("set local lock_timeout = {}", std::max<int64_t>(limit.count(), 1));
}

void begin_read_committed(PostgresConnection& connection) {
  if (!connection.in_transaction()) connection.begin();
  connection.execute("set transaction isolation level read committed");
}

void begin_load(PostgresConnection& connection) {
  begin_read_committed(connection);
  lift_timeouts(connection);
}

void commit_aside(PostgresConnection& connection) {
  try {
    connection.commit();
  } catch (const CommitInDoubt& error) {
    throw ConnectionError("postgres.connection_lost",
                          "the link broke before the rows were published; nothing was loaded (" + error.message() + ")",
                          {.hint = "run again", .sqlstate = error.sqlstate(), .connection_lost = true});
  }
}

const std::string& only_value(const PostgresConnection::Result& result) {
  if (result.rows.size() != 1 || result.rows[0].empty() || !result.rows[0][0])
    throw PostgresError("postgres.unexpected_answer", "the server gave no value where there is always one",
                        {.hint = "is this PostgreSQL, 13 or newer?"});
  return *result.rows[0][0];
}

}  // namespace snowmelt
