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
  std::string schema;   // of the object that the failure is about, where the server tells it
  std::string table;
};

// Kind, stable code word, and whether the link is gone.
struct PostgresVerdict {
  ErrorKind kind;
  std::string_view code;
  bool connection_lost;
  std::string_view hint;           // ours, used where the server gives none
  std::string_view sentence = {};  // ours, before the server's
  bool hint_rules = false;         // over the server's own, which may be DROP … CASCADE
};

// The one place that knows SQLSTATEs; exact codes before classes, no code means that the link is gone. Where one code means
// several things, the server's words tell them apart as far as they are English, and the remedy is the general one otherwise.
PostgresVerdict classify(const PostgresFailure& failure);

[[noreturn]] void throw_postgres_failure(const PostgresFailure& failure);

}  // namespace snowmelt
