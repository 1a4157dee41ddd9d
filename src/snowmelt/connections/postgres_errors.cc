#include "snowmelt/connections/postgres_errors.h"

#include <array>
#include <utility>

namespace snowmelt {
namespace {

struct Rule {
  std::string_view sqlstate;  // five characters: exact; two: the class
  PostgresVerdict verdict;
};

constexpr std::string_view kWaitHint = "the server is starting, stopping or full; try again later";

// Exact codes first. Reviewed against appendix A of the PostgreSQL 15 manual.
constexpr std::array kRules{
    Rule{
        "3D000",
        {ErrorKind::configuration, "postgres.database_missing", true, "create the database, or change [postgres] dbname or uri"}},
    Rule{"53300", {ErrorKind::connection, "postgres.too_many_connections", true, kWaitHint}},
    Rule{"57P01", {ErrorKind::connection, "postgres.connection_lost", true, kWaitHint}},
    Rule{"57P02", {ErrorKind::connection, "postgres.connection_lost", true, kWaitHint}},
    Rule{"57P03", {ErrorKind::connection, "postgres.not_reached", true, kWaitHint}},
    Rule{"57P04", {ErrorKind::connection, "postgres.connection_lost", true, "the database was dropped"}},
    Rule{"57P05",
         {ErrorKind::connection, "postgres.connection_lost", true, "idle_session_timeout of the server ended the session"}},
    Rule{"25P03",
         {ErrorKind::connection, "postgres.connection_lost", true,
          "idle_in_transaction_session_timeout of the server ended the session"}},
    Rule{"25P02", {ErrorKind::postgres, "postgres.transaction_failed", false, "an earlier statement failed; roll back first"}},
    Rule{"57014", {ErrorKind::postgres, "postgres.canceled", false, "canceled, or statement_timeout of the server was reached"}},
    Rule{"55P03", {ErrorKind::postgres, "postgres.locked", false, "another session holds a lock on the table"}},
    Rule{"53100", {ErrorKind::postgres, "postgres.disk_full", false, "make room on the server's disk"}},
    Rule{"42501",
         {ErrorKind::postgres, "postgres.permission_denied", false,
          "grant the privilege to the user, or use another [postgres] user"}},
    Rule{"3F000", {ErrorKind::postgres, "postgres.schema_missing", false, ""}},
    Rule{"42P01", {ErrorKind::postgres, "postgres.table_missing", false, ""}},
    Rule{"42P07", {ErrorKind::postgres, "postgres.table_exists", false, ""}},
    Rule{"40001", {ErrorKind::postgres, "postgres.serialization_failure", false, "try again"}},
    Rule{"40P01", {ErrorKind::postgres, "postgres.deadlock", false, "try again"}},
    Rule{"23502", {ErrorKind::postgres, "postgres.not_null_violation", false, ""}},
    Rule{"23505", {ErrorKind::postgres, "postgres.unique_violation", false, ""}},
    Rule{"08", {ErrorKind::connection, "postgres.connection_lost", true, ""}},
    Rule{"28",
         {ErrorKind::authentication, "postgres.login_refused", true,
          "check [postgres] user and password, PGPASSWORD, or ~/.pgpass; and the server's pg_hba.conf"}},
    Rule{"22", {ErrorKind::postgres, "postgres.value_refused", false, ""}},
    Rule{"23", {ErrorKind::postgres, "postgres.constraint_violation", false, ""}},
    Rule{"42", {ErrorKind::postgres, "postgres.statement_refused", false, ""}},
    Rule{"53", {ErrorKind::postgres, "postgres.out_of_resources", false, ""}},
};

}  // namespace

PostgresVerdict classify_sqlstate(std::string_view sqlstate) {
  if (sqlstate.empty()) return {ErrorKind::connection, "postgres.connection_lost", true, ""};
  for (const Rule& rule : kRules) {
    if (sqlstate.starts_with(rule.sqlstate)) return rule.verdict;
  }
  return {ErrorKind::postgres, "postgres.refused", false, ""};
}

void throw_postgres_failure(const PostgresFailure& failure) {
  PostgresVerdict verdict = classify_sqlstate(failure.sqlstate);
  // A FATAL or PANIC ends the session whatever its code.
  const bool ended = failure.severity == "FATAL" || failure.severity == "PANIC";
  std::string message = failure.message;
  if (!failure.detail.empty()) message += " (" + failure.detail + ")";
  ErrorFacts facts;
  facts.where = failure.context;
  facts.hint = failure.hint.empty() ? std::string(verdict.hint) : failure.hint;
  facts.sqlstate = failure.sqlstate;
  facts.connection_lost = verdict.connection_lost || ended;
  throw_error(verdict.kind, std::string(verdict.code), std::move(message), std::move(facts));
}

}  // namespace snowmelt
