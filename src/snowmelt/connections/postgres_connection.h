// One PostgreSQL connection with transactions, and the COPY stream the loader writes into.
#pragma once

#include <chrono>
#include <memory>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "snowmelt/config.h"
#include "snowmelt/connections/base_connection.h"

namespace snowmelt {

class PostgresConnection;

// COPY … FROM STDIN in progress. Destroyed unfinished it aborts the statement with a reason, so nothing is half-loaded.
class CopyStream {
 public:
  virtual ~CopyStream() = default;
  // Sends bytes (libpq copies them); throws when the server has already refused.
  virtual void write(std::span<const char> bytes) = 0;
  // Ends the COPY and returns the rows the server counted (its command tag).
  virtual int64_t finish() = 0;
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
  virtual void rollback() = 0;
  virtual bool ping() = 0;
  // Asks the server to cancel the running statement; callable from another thread.
  virtual void cancel() noexcept = 0;
  virtual void close() noexcept = 0;

  virtual int server_version() const = 0;  // 150018
};

// Opens one connection as the configuration says: libpq's own rules for URI, service, PG* and .pgpass; UTF-8 client encoding.
std::shared_ptr<PostgresConnection> open_postgres(const PostgresConfig& config);

// The same, with a transaction begun, all within `limit`: through a pooler an open connection says nothing of a free server
// behind it. Null where no server answered in time; what else goes wrong is thrown.
std::shared_ptr<PostgresConnection> open_postgres_transaction(const PostgresConfig& config, std::chrono::milliseconds limit);

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
  ~PostgresConnectionManager() override;  // rolls uncommitted work back, with a warning

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
