// What extraction asks of the source's side. Made once, from whatever manager the caller has; what extracts sees no other.
#pragma once

#include <memory>
#include <optional>
#include <stop_token>
#include <string>

#include "snowmelt/connections/base_connection.h"
#include "snowmelt/connections/snowflake_connection.h"

namespace snowmelt {

// Any thread; several statements may run at the same time.
class SourceSession {
 public:
  virtual ~SourceSession() = default;

  // A statement's answer, in whichever form the connection gives it.
  struct Answer {
    std::optional<StatementResult> result;
    std::unique_ptr<Cursor> cursor;  // of a connection that only knows rows
  };
  // Runs a statement that only reads. Where the connection turns out to be lost, once more with a new one.
  virtual Answer execute(const Statement& statement) = 0;
  // The same on the connection there is: never a login. Throws ConnectionError where it is closed or lost.
  virtual Answer execute_here(const Statement& statement) = 0;
  // What kind of statement this is (StatementResult::statement_type_id) without running it; nullopt where nobody can tell.
  virtual std::optional<StatementResult> describe(const Statement& statement) = 0;
  // The finished result of an earlier statement, with fresh chunk URLs. It outlives its session (24 h on the server): where that
  // is lost, another one of the same user asks. Throws ConnectionError where this source cannot do that.
  virtual StatementResult result(const std::string& query_id, const std::stop_token& stop) = 0;
  // What the last connection was opened with; nullopt for one that only knows rows, and before the first.
  virtual std::optional<SnowflakeConfig> config() const = 0;
};

std::shared_ptr<SourceSession> source_session(std::shared_ptr<ConnectionManager> manager);
// Of one connection: it is not opened again when it is lost.
std::shared_ptr<SourceSession> source_session(std::shared_ptr<SnowflakeConnection> connection);

}  // namespace snowmelt
