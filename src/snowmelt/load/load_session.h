// How a load speaks to its server inside one open transaction: under whose search_path a statement runs, and how long a lock is
// waited for.
#pragma once

#include <chrono>
#include <functional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "snowmelt/config.h"
#include "snowmelt/connections/postgres_connection.h"
#include "snowmelt/progress.h"

namespace snowmelt {

// Somebody who waits: what it is for, and how to stop it.
struct LoadWaiter {
  TableProgress* progress = nullptr;
  std::stop_token stop{};
};

class LoadSession {
 public:
  // In an open transaction. Reads the user's settings; changes none that outlives the transaction.
  LoadSession(PostgresConnection& connection, LoadSettings settings, LoadWaiter waiter = {});
  LoadSession(const LoadSession&) = delete;
  LoadSession& operator=(const LoadSession&) = delete;

  PostgresConnection& connection() { return connection_; }
  const LoadSettings& settings() const { return settings_; }
  const LoadWaiter& waiter() const { return waiter_; }
  // The existing schemas of the user's search_path, in order.
  const std::vector<std::string>& schemas() const { return schemas_; }

  // A statement of ours: under "pg_catalog, pg_temp", where no function, operator or type can be somebody else's.
  PostgresConnection::Result ours(std::string_view sql, const std::vector<Value>& parameters = {});
  // A statement that runs what belongs to the user's table (defaults, triggers, index expressions) or names the user's types:
  // under the user's own search_path. Its own names have to be qualified.
  PostgresConnection::Result users(std::string_view sql, const std::vector<Value>& parameters = {});
  // Before copy_in() on the connection.
  void as_user();

  // `work` in a savepoint: what it throws leaves the transaction as it was.
  void attempt(const std::function<void()>& work);
  // The same; no statement of `work` waits for a lock longer than `limit` (SQLSTATE 55P03).
  void attempt_within(std::chrono::milliseconds limit, const std::function<void()>& work);

  // Timeouts that the role has for people do not end a load. The transaction is ours from its beginning.
  void lift_timeouts();
  bool is_own() const { return !timeouts_.empty(); }
  // The transaction goes on after the load: its settings are the user's again.
  void give_back();

 private:
  enum class Path { unknown, users, ours };
  void use(Path path);

  PostgresConnection& connection_;
  const LoadSettings settings_;
  const LoadWaiter waiter_;
  std::string search_path_;
  std::vector<std::string> schemas_;
  Path path_ = Path::users;
  Row timeouts_;  // the user's, where they were lifted
};

// "set local lock_timeout …": at least 1 ms, since 0 would be for ever.
std::string lock_timeout_statement(std::chrono::milliseconds limit);

// A transaction of ours: READ COMMITTED whatever the role's default is, since what is looked at after a lock must be what others
// have committed meanwhile; without timeouts. Where one is open already (open_postgres_transaction) it only gets these settings.
void begin_load(PostgresConnection& connection);
// Without the timeouts: for a LoadSession, which gives them back.
void begin_read_committed(PostgresConnection& connection);

// A commit of ours beside the target, whose loss says nothing of the target: never CommitInDoubt.
void commit_aside(PostgresConnection& connection);

// statement_timeout, lock_timeout and idle_in_transaction_session_timeout are off until the transaction ends.
void lift_timeouts(PostgresConnection& connection);

// One value of a result that has it.
const std::string& only_value(const PostgresConnection::Result& result);

}  // namespace snowmelt
