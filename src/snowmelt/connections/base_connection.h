// What extractors and loaders see of a database, and the lifecycle every connection manager shares.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "snowmelt/error.h"

namespace snowmelt {

struct StatementResult;  // snowflake_connection.h

// A value in its database's canonical text form; nullopt is SQL NULL. Text keeps every digit; typed access is Arrow's job.
using Value = std::optional<std::string>;
using Row = std::vector<Value>;

// One column of a result (DB-API's description).
struct ColumnDescription {
  std::string name;
  std::string type;  // Snowflake: lower-case row type ("fixed", "timestamp_ntz"); PostgreSQL: format_type() text
  std::optional<int> precision;
  std::optional<int> scale;
  std::optional<int64_t> length;
  bool nullable = true;
};

// A statement and its result. Not for two threads at once; different cursors of one connection may run in parallel
// on Snowflake (one session serves parallel statements) and take turns on PostgreSQL.
class Cursor {
 public:
  virtual ~Cursor() = default;

  // Runs one statement; `parameters` are sent beside the text, never spliced into it (? on Snowflake, $1 on PostgreSQL).
  virtual void execute(std::string_view sql, const std::vector<Value>& parameters = {}) = 0;
  virtual const std::vector<ColumnDescription>& description() const = 0;
  // Rows of the result, or rows changed; -1 where the server does not say.
  virtual int64_t rowcount() const = 0;
  virtual std::optional<Row> fetchone() = 0;
  virtual void close() = 0;
  // Ends the statement that execute() waits for, on the server too, where the connection can do that by itself.
  virtual void set_stop_token(std::stop_token /*stop*/) {}

  std::vector<Row> fetchmany(size_t count);
  std::vector<Row> fetchall();

  // The raw result for the data plane: Snowflake's own cursor has one. A mock that only knows rows returns null,
  // and the extractor then reads rows.
  virtual const StatementResult* result() const { return nullptr; }
};

class Connection {
 public:
  virtual ~Connection() = default;
  virtual std::unique_ptr<Cursor> cursor() = 0;
  // Local state only, no network: false once closed or once a statement failed with the connection lost.
  virtual bool is_open() const = 0;
};

// What extractor and loader log, once an object, when they have to make their own manager (the seed's words).
inline constexpr const char* kNoManagerWarning =
    "No connection manager provided - creating new one. \nConsider passing a connection manager for better performance.";

// The least a manager is: mocks implement these two.
class ConnectionManager {
 public:
  virtual ~ConnectionManager() = default;
  virtual std::shared_ptr<Connection> get_connection() = 0;
  virtual void close() = 0;
};

// The lifecycle, once for both databases: lazy creation, reuse, health check, reconnection, closing by scope.
// May be shared by threads: while one thread opens, the others wait for that connection.
class BaseConnectionManager : public ConnectionManager {
 public:
  BaseConnectionManager(const BaseConnectionManager&) = delete;
  BaseConnectionManager& operator=(const BaseConnectionManager&) = delete;

  // The one connection: opened at the first call, the same object while alive, opened again when lost.
  // A connection used within `idle_before_ping` is not pinged. Throws ConnectionError, AuthenticationError, and
  // after close() a UsageError. Threads that waited for an opening that failed get its error and do not try again:
  // 64 attempts with one wrong password lock an account.
  std::shared_ptr<Connection> get_connection() override;

  // Asks the server. False before the first connection (nobody is logged in for it), after close(), and when lost.
  bool is_alive();

  // Ends the connection on the server. Never throws; a second call does nothing.
  void close() noexcept override;

  // Connections opened so far by this manager; for Snowflake each one is a login.
  int64_t connections_opened() const noexcept { return connections_opened_; }

  void set_idle_before_ping(std::chrono::milliseconds idle) { idle_before_ping_ = idle; }

  // A stop request ends what get_connection() waits for: a person, a server that does not answer.
  void set_stop_token(std::stop_token stop);

 protected:
  BaseConnectionManager() = default;

  std::stop_token stop_token() const;

  virtual std::shared_ptr<Connection> open() = 0;
  // One round trip. False or an exception mean dead, except a ConnectionError without connection_lost(): the network is
  // down, the connection may not be; get_connection() passes it on and keeps the connection (and its login).
  virtual bool ping(Connection& connection) = 0;
  // Called once for a connection that is given up, dead or alive; must not throw.
  virtual void dispose(Connection& connection) noexcept = 0;
  // A hook to refuse reconnecting where that would lose work silently (an open transaction).
  virtual void before_reconnect(Connection& /*lost*/) {}
  // Derived destructors call close() themselves: dispose() is theirs.

  std::shared_ptr<Connection> current_connection() const;

 private:
  using Lock = std::unique_lock<std::mutex>;
  std::shared_ptr<Connection> usable(Lock& lock);
  bool answers(Lock& lock, const std::shared_ptr<Connection>& connection, bool pass_network_errors);
  void give_up_lost(Lock& lock);
  std::shared_ptr<Connection> open_once(Lock& lock);

  // Never held during network traffic: `busy_` reserves the connection instead.
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  enum class Busy { no, pinging, opening } busy_ = Busy::no;
  uint64_t openings_ = 0;                // finished attempts, by which waiters recognise "theirs"
  std::optional<Error> opening_failed_;  // the outcome of the last one
  std::shared_ptr<Connection> connection_;
  std::chrono::steady_clock::time_point last_used_;
  std::chrono::milliseconds idle_before_ping_{30'000};
  std::atomic<int64_t> connections_opened_{0};
  bool closed_ = false;
  std::stop_token stop_;
};

}  // namespace snowmelt
