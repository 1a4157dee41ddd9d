// What loading asks of PostgreSQL's side. Made once, from whatever manager the caller has; what loads sees no other.
#pragma once

#include <chrono>
#include <memory>
#include <stop_token>

#include "snowmelt/config.h"
#include "snowmelt/connections/postgres_connection.h"

namespace snowmelt {

class TargetSession {
 public:
  virtual ~TargetSession() = default;

  // The manager's connection, in whatever transaction it is. Throws UsageError where the manager gives another kind.
  virtual std::shared_ptr<PostgresConnection> connection() = 0;
  // One more beside it, with a transaction begun; null where no server was free within `limit`, or where the manager (a mock)
  // does not say how to open one.
  virtual std::shared_ptr<PostgresConnection> another(std::chrono::milliseconds limit, const std::stop_token& stop) = 0;
  // Whether another() can give any.
  virtual bool has_others() const = 0;
  // A manager that is a mock has the defaults.
  virtual const LoadSettings& settings() const = 0;
};

std::shared_ptr<TargetSession> target_session(std::shared_ptr<ConnectionManager> manager);

}  // namespace snowmelt
