#include "snowmelt/connections/source_session.h"

#include <mutex>
#include <utility>

#include "snowmelt/error.h"
#include "snowmelt/log.h"

namespace snowmelt {
namespace {

class ManagedSource final : public SourceSession {
  struct Held {
    std::shared_ptr<Connection> any;
    std::shared_ptr<SnowflakeConnection> snowflake;  // the same, where it is one
  };

  static Answer answer(const Held& held, const Statement& statement) {
    if (held.snowflake != nullptr) return {held.snowflake->execute(statement), nullptr};
    std::unique_ptr<Cursor> cursor = held.any->cursor();
    cursor->set_stop_token(statement.stop);
    cursor->execute(statement.sql, statement.parameters);
    if (const StatementResult* result = cursor->result()) return {*result, nullptr};
    return {std::nullopt, std::move(cursor)};
  }

  Held current() const {
    const std::lock_guard lock(mutex_);
    return held_;
  }

  // The manager's connection, logged in if need be; a single connection stays what it is.
  Held connected() {
    if (manager_ == nullptr) return current();
    std::shared_ptr<Connection> connection = manager_->get_connection();
    Held held{connection, std::dynamic_pointer_cast<SnowflakeConnection>(connection)};
    const std::lock_guard lock(mutex_);
    held_ = held;
    return held;
  }

  template <typename Call>
  auto once_more(const Held& held, Call&& call) {
    try {
      return call(held);
    } catch (const Error& error) {
      const bool lost = error.connection_lost() && error.kind() != ErrorKind::interrupted;
      if (!lost || manager_ == nullptr || (held.any != nullptr && held.any->is_open())) throw;
      log(LogLevel::warning, "the Snowflake session was lost ({}); logging in again", error.message());
    }
    return call(connected());
  }

 public:
  explicit ManagedSource(std::shared_ptr<ConnectionManager> manager) : manager_(std::move(manager)) {}
  explicit ManagedSource(std::shared_ptr<SnowflakeConnection> connection) : held_{connection, connection} {}

  Answer execute(const Statement& statement) override {
    return once_more(connected(), [&](const Held& held) { return answer(held, statement); });
  }

  Answer execute_here(const Statement& statement) override {
    const Held held = current();
    if (held.any == nullptr || !held.any->is_open())
      throw ConnectionError("snowflake.connection_lost", "the session is closed or was lost", {.connection_lost = true});
    return answer(held, statement);
  }

  std::optional<StatementResult> describe(const Statement& statement) override {
    return once_more(connected(), [&](const Held& held) -> std::optional<StatementResult> {
      if (held.snowflake == nullptr) return std::nullopt;
      Statement described = statement;
      described.describe_only = true;
      return held.snowflake->execute(described);
    });
  }

  StatementResult result(const std::string& query_id, const std::stop_token& stop) override {
    return once_more(current(), [&](const Held& held) {
      if (held.snowflake == nullptr) {
        throw ConnectionError("snowflake.no_refresh",
                              "the result's chunks cannot be fetched any more, and this connection cannot renew their URLs");
      }
      return held.snowflake->result(query_id, stop);
    });
  }

  std::optional<SnowflakeConfig> config() const override {
    const Held held = current();
    return held.snowflake == nullptr ? std::nullopt : std::optional(held.snowflake->config());
  }

 private:
  const std::shared_ptr<ConnectionManager> manager_;  // null: one connection only
  mutable std::mutex mutex_;
  Held held_;
};

}  // namespace

std::shared_ptr<SourceSession> source_session(std::shared_ptr<ConnectionManager> manager) {
  return std::make_shared<ManagedSource>(std::move(manager));
}

std::shared_ptr<SourceSession> source_session(std::shared_ptr<SnowflakeConnection> connection) {
  return std::make_shared<ManagedSource>(std::move(connection));
}

}  // namespace snowmelt
