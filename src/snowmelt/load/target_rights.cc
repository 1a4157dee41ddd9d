#include "snowmelt/load/target_rights.h"

#include <fmt/format.h>

#include <string_view>
#include <vector>

#include "snowmelt/error.h"
#include "snowmelt/nearest_word.h"

namespace snowmelt {
namespace {

std::string current_role(LoadSession& session) { return only_value(session.ours("select current_user")); }

bool is_true(LoadSession& session, std::string_view sql, const std::vector<Value>& parameters = {}) {
  return only_value(session.ours(sql, parameters)) == "t";
}

[[noreturn]] void throw_missing_privilege(LoadSession& session, const TargetName& target, std::string_view privilege,
                                          const std::string& object) {
  const std::string role = current_role(session);
  throw PostgresError("postgres.permission_denied",
                      fmt::format("role {} lacks the privilege {} on {}", quote_identifier(role), privilege, object),
                      {.where = target.display,
                       .hint = fmt::format("let its owner run: grant {} on {} to {}", privilege, object, quote_identifier(role)),
                       .sqlstate = "42501"});
}

std::string database_object(LoadSession& session) {
  return "database " + quote_identifier(only_value(session.ours("select current_database()")));
}

// Schemas that the server keeps for itself are nobody's target.
std::string nearest_schema(LoadSession& session, const std::string& schema) {
  const auto found = session.ours("select nspname from pg_namespace where nspname !~ '^pg_' and nspname <> 'information_schema'");
  std::vector<std::string> names;
  for (const Row& row : found.rows) names.push_back(*row[0]);
  const std::vector<std::string_view> known(names.begin(), names.end());
  return std::string(nearest_word(schema, known));
}

void check_schema_can_be_made(LoadSession& session, const TargetName& target) {
  if (!session.settings().create_schema) {
    const std::string nearest = nearest_schema(session, target.schema);
    throw PostgresError("postgres.schema_missing", fmt::format("there is no schema {}", quote_identifier(target.schema)),
                        {.where = target.display,
                         .hint = (nearest.empty() ? "" : fmt::format("the nearest name is {}; ", quote_identifier(nearest))) +
                                 fmt::format("to make it: create schema {}, or set [postgres] create_schema = true",
                                             quote_identifier(target.schema)),
                         .sqlstate = "3F000"});
  }
  if (!is_true(session, "select has_database_privilege(current_database(), 'create')"))
    throw_missing_privilege(session, target, "create", database_object(session));
}

}  // namespace

void check_server_is_writable(LoadSession& session, const TargetName& target) {
  const Row row =
      session.ours("select current_setting('transaction_read_only'), pg_is_in_recovery(), quote_ident(current_user)").rows.at(0);
  if (*row[0] != "on") return;
  const bool standby = *row[1] == "t";
  throw PostgresError(
      "postgres.read_only",
      standby ? "the server is a standby, which takes no writes"
              : fmt::format("transactions of role {} are read-only here", *row[2]),
      {.where = target.display,
       .hint = standby ? "connect to the primary: [postgres] host, or uri with target_session_attrs=read-write"
                       : "set default_transaction_read_only = off for the role or the database (alter role … set …), "
                         "or load as another role",
       .sqlstate = "25006"});
}

void check_table_can_be_made(LoadSession& session, const TargetName& target) {
  const auto found = session.ours(
      "select has_schema_privilege(n.oid, 'usage'), has_schema_privilege(n.oid, 'create') from pg_namespace n where n.nspname = "
      "$1",
      {target.schema});
  if (found.rows.empty()) return check_schema_can_be_made(session, target);
  const std::string schema = "schema " + quote_identifier(target.schema);
  if (found.rows[0][0] != "t") throw_missing_privilege(session, target, "usage", schema);
  if (found.rows[0][1] != "t") throw_missing_privilege(session, target, "create", schema);
}

bool check_table_can_be_filled(LoadSession& session, const TargetName& target, LoadMode mode, bool in_place) {
  const bool swaps = mode == LoadMode::replace && !in_place;
  const bool empties = mode == LoadMode::truncate || (mode == LoadMode::replace && in_place);
  // Which columns are loaded is not known yet: the right to insert into some is enough here, COPY asks for the rest.
  const Row row =
      session
          .ours(
              "select has_schema_privilege($2, 'usage'), has_table_privilege($1::oid, 'insert') or "
              "has_any_column_privilege($1::oid, 'insert'), has_table_privilege($1::oid, 'truncate'), "
              "has_table_privilege($1::oid, 'select'), row_security_active($1::oid), "
              "(select string_agg(distinct k.conrelid::regclass::text, ', ') from pg_constraint k where k.confrelid = "
              "$1::oid and k.contype = 'f' and k.conrelid <> $1::oid and not exists (select from pg_partition_tree($1::oid) p "
              "where "
              "p.relid = k.conrelid))",
              {target.oid, target.schema})
          .rows.at(0);
  if (!row[1]) return false;  // an oid that is no table's has no privileges
  const std::string table = "table " + target.qualified;
  if (row[0] != "t") throw_missing_privilege(session, target, "usage", "schema " + quote_identifier(target.schema));
  if (row[1] != "t") throw_missing_privilege(session, target, "insert", table);
  if (empties && row[2] != "t") throw_missing_privilege(session, target, "truncate", table);
  if (swaps && row[3] != "t") throw_missing_privilege(session, target, "select", table);    // of the old table's shape
  if (swaps && row[2] != "t") throw_missing_privilege(session, target, "truncate", table);  // for LOCK TABLE
  if (empties && row[5])
    throw PostgresError(
        "postgres.referenced", fmt::format("foreign keys of {} refer to the table, so it cannot be emptied", *row[5]),
        {.where = target.display, .hint = "drop those foreign keys first, or use mode = \"append\"", .sqlstate = "0A000"});
  if (swaps || row[4] != "t") return true;
  const std::string role = quote_identifier(current_role(session));
  throw PostgresError(
      "postgres.row_security",
      fmt::format("row-level security applies to role {} here, and COPY FROM is not possible under it", role),
      {.where = target.display,
       .hint = fmt::format("load as the table's owner, or as a role with BYPASSRLS: alter role {} bypassrls", role),
       .sqlstate = "0A000"});
}

}  // namespace snowmelt
