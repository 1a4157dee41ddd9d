#include "snowmelt/connections/postgres_errors.h"

#include <array>
#include <utility>

namespace snowmelt {
namespace {

struct Rule {
  std::string_view sqlstate;  // five characters: exact; two: the class
  PostgresVerdict verdict;
  std::string_view words = {};   // the server's message has them
  std::string_view schema = {};  // of the object that it is about
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
    Rule{"55P03",
         {ErrorKind::postgres, "postgres.locked", false,
          "try again when it is done; select pid, application_name, query from pg_stat_activity where state <> 'idle' shows who "
          "is "
          "there",
          "another session holds a lock on the table"}},
    Rule{"25006",
         {ErrorKind::postgres, "postgres.read_only", false,
          "connect to the primary ([postgres] host, or target_session_attrs=read-write in uri); if it is the primary, turn "
          "default_transaction_read_only off for the server, the database or the role",
          "nothing can be written here: the server is a standby, or transactions are read-only by default"}},
    Rule{"54000",
         {ErrorKind::postgres, "postgres.row_too_big", false,
          "leave columns out with drop = [\"…\"], or give the table narrower types (integer for bigint, real for double "
          "precision)",
          "a row has to fit into one page"},
         "row is too big"},
    Rule{"54000", {ErrorKind::postgres, "postgres.limit_exceeded", false, ""}},
    Rule{"2BP01",
         {ErrorKind::postgres, "postgres.has_dependents", false,
          "drop what depends on it first, or use mode = \"truncate\" or \"append\"", "other objects depend on it", true}},
    Rule{"53100", {ErrorKind::postgres, "postgres.disk_full", false, "make room on the server's disk"}},
    Rule{"42501",
         {ErrorKind::postgres, "postgres.not_owner", false,
          "load as its owner, or make the user one: alter table … owner to <user>, or grant <owner> to <user>",
          "only an owner may do this, and the user is none (any more)"},
         "must be owner of"},
    Rule{"42501",
         {ErrorKind::postgres, "postgres.row_security", false,
          "load as the table's owner or as a role with BYPASSRLS, or change the policy"},
         "row-level security"},
    Rule{"42501",
         {ErrorKind::postgres, "postgres.permission_denied", false,
          "grant the privilege to the user, or use another [postgres] user"}},
    Rule{"3F000", {ErrorKind::postgres, "postgres.schema_missing", false, ""}},
    Rule{"42P01", {ErrorKind::postgres, "postgres.table_missing", false, ""}},
    Rule{"42P07",
         {ErrorKind::postgres, "postgres.table_exists", false,
          "if it was not there before, another session made it meanwhile: set mode = \"replace\", \"truncate\" or \"append\", or "
          "drop it"}},
    Rule{"40001", {ErrorKind::postgres, "postgres.serialization_failure", false, "try again"}},
    Rule{"40P01", {ErrorKind::postgres, "postgres.deadlock", false, "try again"}},
    Rule{"23502", {ErrorKind::postgres, "postgres.not_null_violation", false, ""}},
    // Two CREATEs at once: the second finds the first one's row in pg_type, pg_class or pg_namespace.
    Rule{"23505",
         {ErrorKind::postgres, "postgres.table_exists", false, "set mode = \"replace\", \"truncate\" or \"append\", or drop it",
          "another session made a table, type or schema of that name meanwhile"},
         "",
         "pg_catalog"},
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

PostgresVerdict classify(const PostgresFailure& failure) {
  if (failure.sqlstate.empty()) return {ErrorKind::connection, "postgres.connection_lost", true, ""};
  for (const Rule& rule : kRules) {
    if (failure.sqlstate.starts_with(rule.sqlstate) && failure.message.find(rule.words) != std::string::npos &&
        (rule.schema.empty() || failure.schema == rule.schema))
      return rule.verdict;
  }
  return {ErrorKind::postgres, "postgres.refused", false, ""};
}

void throw_postgres_failure(const PostgresFailure& failure) {
  const PostgresVerdict verdict = classify(failure);
  // A FATAL or PANIC ends the session whatever its code.
  const bool ended = failure.severity == "FATAL" || failure.severity == "PANIC";
  std::string message(verdict.sentence);
  message += (message.empty() ? "" : ": ") + failure.message;
  if (!failure.detail.empty()) message += " (" + failure.detail + ")";
  ErrorFacts facts;
  facts.where = failure.context;
  facts.hint = failure.hint.empty() || verdict.hint_rules ? std::string(verdict.hint) : failure.hint;
  facts.sqlstate = failure.sqlstate;
  facts.connection_lost = verdict.connection_lost || ended;
  throw_error(verdict.kind, std::string(verdict.code), std::move(message), std::move(facts));
}

}  // namespace snowmelt
