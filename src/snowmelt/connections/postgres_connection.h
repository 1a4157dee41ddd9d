// One PostgreSQL connection with transactions, and the COPY stream the loader writes into.
#pragma once

#include <chrono>
#include <memory>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "snowmelt/config.h"
#include "snowmelt/connections/base_connection.h"
#include "snowmelt/progress.h"

namespace snowmelt {

class PostgresConnection;

// COPY … FROM STDIN in progress: finish() it or abandon() it. Destroyed without either it closes the connection, which ends the
// statement too and waits for nobody.
class CopyStream {
 public:
  virtual ~CopyStream() = default;
  // Sends bytes (libpq copies them); throws when the server has already refused.
  virtual void write(std::span<const char> bytes) = 0;
  // Ends the COPY and returns the rows the server counted (its command tag).
  virtual int64_t finish() = 0;
  // Ends the COPY with nothing loaded; the connection stays usable where the server confirms within a few seconds.
  virtual void abandon() noexcept = 0;
};

// Who waits for a server: what ends the wait, and where a display reads what is waited for.
struct ConnectionWaiter {
  std::stop_token stop{};
  ProgressNote* note = nullptr;  // may be null
};

class PostgresConnection : public Connection {
 public:
  ~PostgresConnection() override = default;

  struct Result {
    std::vector<ColumnDescription> columns;
    std::vector<Row> rows;
    int64_t affected = -1;  // from the command tag
  };
  // One statement, text format; `parameters` as $1, $2, …. Opens the transaction first unless autocommit.
  virtual Result execute(std::string_view sql, const std::vector<Value>& parameters = {}) = 0;
  virtual std::unique_ptr<CopyStream> copy_in(std::string_view copy_sql) = 0;

  virtual bool autocommit() const = 0;
  // True between the first statement and commit() or rollback(); with autocommit only inside begin().
  virtual bool in_transaction() const = 0;
  virtual void begin() = 0;  // an explicit transaction, for all-or-nothing work under autocommit
  // A link lost during COMMIT throws CommitInDoubt. commit() of a failed transaction throws PostgresError.
  virtual void commit() = 0;
  // Also after a stop request. A server that does not confirm within seconds loses the connection, which rolls back too.
  virtual void rollback() = 0;
  virtual void rollback_to(std::string_view savepoint) = 0;  // likewise
  virtual bool ping() = 0;
  // Waits for no network: what another thread waits for on this connection ends first.
  virtual void close() noexcept = 0;

  // From a stop request on nothing new is sent but what undoes. The statement that is waited for is cancelled on the server; one
  // that has not ended a second later loses the connection. Both throw Interrupted. Returns the waiter there was: see WaitScope.
  virtual ConnectionWaiter set_waiter(ConnectionWaiter waiter) = 0;
  // Whether the open transaction holds work that close() would lose, as far as the statements' own words tell.
  virtual bool has_uncommitted_work() const = 0;

  virtual int server_version() const = 0;  // 150018
};

// `waiter` is the connection's for as long as this lives.
class WaitScope {
 public:
  WaitScope(PostgresConnection& connection, ConnectionWaiter waiter)
      : connection_(connection), before_(connection.set_waiter(std::move(waiter))) {}
  ~WaitScope() { connection_.set_waiter(std::move(before_)); }
  WaitScope(const WaitScope&) = delete;
  WaitScope& operator=(const WaitScope&) = delete;

 private:
  PostgresConnection& connection_;
  ConnectionWaiter before_;
};

// Opens one connection as the configuration says: libpq's own rules for URI, service, PG* and .pgpass; UTF-8 client encoding.
// A stop request ends the wait with Interrupted.
std::shared_ptr<PostgresConnection> open_postgres(const PostgresConfig& config, const std::stop_token& stop = {});

// The same, with a transaction begun, all within `limit`: through a pooler an open connection says nothing of a free server
// behind it. Null where no server answered in time; what else goes wrong is thrown.
std::shared_ptr<PostgresConnection> open_postgres_transaction(const PostgresConfig& config, std::chrono::milliseconds limit,
                                                              const std::stop_token& stop = {});

// "name" quoted for PostgreSQL; a NUL inside is a ValueError.
std::string quote_identifier(std::string_view name);
// "schema"."name".
std::string quote_qualified(std::string_view schema, std::string_view name);
std::string quote_literal(std::string_view text);

class PostgresConnectionManager : public BaseConnectionManager {
 public:
  // Without arguments the settings come from snowmelt.toml, PG* and .pgpass.
  explicit PostgresConnectionManager(bool autocommit = false);
  explicit PostgresConnectionManager(PostgresConfig config);
  ~PostgresConnectionManager() override;  // uncommitted work is lost, with a warning; waits for no network

  std::shared_ptr<PostgresConnection> get_postgres_connection();

  // Of the current connection; without one there is nothing to do.
  void commit();
  void rollback();
  bool autocommit() const { return config_.autocommit; }
  const PostgresConfig& config() const { return config_; }

 protected:
  std::shared_ptr<Connection> open() override;
  bool ping(Connection& connection) override;
  void dispose(Connection& connection) noexcept override;
  void before_reconnect(Connection& lost) override;  // refused inside a transaction: the work is gone

 private:
  PostgresConfig config_;
};

}  // namespace snowmelt
