// What a PostgreSQL failure means for the caller: one table from SQLSTATE to our kinds of error.
#pragma once

#include <string>
#include <string_view>

#include "snowmelt/error.h"

namespace snowmelt {

// A failure as the server tells it (or libpq, when the server says nothing: then `sqlstate` is empty).
struct PostgresFailure {
  std::string sqlstate;
  std::string severity;  // not localized: ERROR, FATAL, PANIC
  std::string message;
  std::string detail;
  std::string hint;
  std::string context;  // for COPY: table, line and column
};

// Kind, stable code word, and whether the link is gone.
struct PostgresVerdict {
  ErrorKind kind;
  std::string_view code;
  bool connection_lost;
  std::string_view hint;  // ours, used where the server gives none
};

// The one place that knows SQLSTATEs; exact codes before classes, no code means that the link is gone.
PostgresVerdict classify_sqlstate(std::string_view sqlstate);

[[noreturn]] void throw_postgres_failure(const PostgresFailure& failure);

}  // namespace snowmelt
