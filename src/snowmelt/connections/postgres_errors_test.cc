#include "snowmelt/connections/postgres_errors.h"

#include <gtest/gtest.h>

namespace snowmelt {
namespace {

struct Case {
  PostgresFailure failure;
  const char* code;
  const char* sentence;  // of the message
  const char* hint;      // of the hint
};

TEST(PostgresErrors, EachHasItsOwnSentenceAndRemedy) {
  const Case cases[] = {
      {{.sqlstate = "25006", .message = "cannot execute CREATE TABLE in a read-only transaction"},
       "postgres.read_only",
       "nothing can be written here",
       "target_session_attrs=read-write"},
      {{.sqlstate = "42501", .message = "must be owner of table t"}, "postgres.not_owner", "only an owner", "owner to <user>"},
      {{.sqlstate = "42501", .message = "permission denied for table t"},
       "postgres.permission_denied",
       "permission denied",
       "grant the privilege"},
      {{.sqlstate = "42501", .message = "Berechtigung nur für Eigentümer der Tabelle t"},
       "postgres.permission_denied",
       "Eigentümer",
       "grant the"},
      {{.sqlstate = "42501", .message = "new row violates row-level security policy for table \"t\""},
       "postgres.row_security",
       "policy for table",
       "BYPASSRLS"},
      {{.sqlstate = "55P03", .message = "canceling statement due to lock timeout"},
       "postgres.locked",
       "another session holds a lock",
       "pg_stat_activity"},
      {{.sqlstate = "42P07", .message = "relation \"t\" already exists"},
       "postgres.table_exists",
       "already exists",
       "another session made it meanwhile"},
      {{.sqlstate = "23505",
        .message = "duplicate key value violates unique constraint \"pg_type_typname_nsp_index\"",
        .schema = "pg_catalog",
        .table = "pg_type"},
       "postgres.table_exists",
       "another session made a table",
       "mode = "},
      {{.sqlstate = "23505", .message = "duplicate key value", .schema = "public", .table = "pg_type"},
       "postgres.unique_violation",
       "duplicate key",
       ""},
      {{.sqlstate = "54000", .message = "row is too big: size 12024, maximum size 8160"},
       "postgres.row_too_big",
       "one page",
       "narrower types"},
      {{.sqlstate = "54000", .message = "index row size 2712 exceeds btree version 4 maximum 2704", .hint = "Consider a hash."},
       "postgres.limit_exceeded",
       "index row size",
       "Consider a hash."},
      {{.sqlstate = "2BP01",
        .message = "cannot drop table t because other objects depend on it",
        .detail = "view v depends on table t",
        .hint = "Use DROP ... CASCADE to drop the dependent objects too."},
       "postgres.has_dependents",
       "view v depends on table t",
       "drop what depends on it first"},
  };
  for (const Case& c : cases) {
    try {
      throw_postgres_failure(c.failure);
    } catch (const PostgresError& error) {
      EXPECT_EQ(error.code(), c.code) << c.failure.message;
      EXPECT_NE(error.message().find(c.sentence), std::string::npos) << error.what();
      EXPECT_NE(error.message().find(c.failure.message), std::string::npos) << "the server's own words stay: " << error.what();
      EXPECT_NE(error.hint().find(c.hint), std::string::npos) << error.what();
      EXPECT_EQ(error.hint().find("CASCADE"), std::string::npos) << error.what();
      EXPECT_EQ(error.sqlstate(), c.failure.sqlstate);
      EXPECT_FALSE(error.connection_lost());
    }
  }
}

TEST(PostgresErrors, NoCodeMeansThatTheLinkIsGone) {
  EXPECT_TRUE(classify({}).connection_lost);
  EXPECT_EQ(classify({.sqlstate = "XX000"}).code, "postgres.refused");
  EXPECT_EQ(classify({.sqlstate = "08006"}).code, "postgres.connection_lost");
  EXPECT_EQ(classify({.sqlstate = "42703"}).code, "postgres.statement_refused");
}

}  // namespace
}  // namespace snowmelt
