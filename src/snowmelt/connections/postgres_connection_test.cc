// Connections and their manager against a private server: transactions, COPY, and connections that the server ends.
#include "snowmelt/connections/postgres_connection.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <thread>

#include "snowmelt/connections/test_postgres.h"
#include "snowmelt/error.h"
#include "snowmelt/log.h"
#include "snowmelt/test_events.h"

namespace snowmelt {
namespace {

std::string code_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.code();
  }
  return "no error";
}

class Postgres : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto server = test_postgres();
    if (!server) GTEST_SKIP() << kNoTestServer;
    config_ = *server;
    PostgresConfig autocommit = config_;
    autocommit.autocommit = true;
    observer_ = open_postgres(autocommit);
    observer_->execute("drop schema if exists connection_test cascade");
    observer_->execute("create schema connection_test");
    observer_->execute("create table connection_test.t (n int primary key)");
    set_log_sink([this](LogLevel level, std::string_view message) {
      if (level == LogLevel::warning) warnings_ += std::string(message) + "\n";
    });
  }
  void TearDown() override {
    set_log_sink({});
    if (observer_) observer_->execute("drop schema connection_test cascade");
  }

  std::string rows() { return *observer_->execute("select count(*) from connection_test.t").rows[0][0]; }

  void insert(PostgresConnectionManager& manager, int n) {
    manager.get_postgres_connection()->execute("insert into connection_test.t values ($1)", {std::to_string(n)});
  }

  // As an administrator does; comes back when the backend is gone.
  void end_backend(PostgresConnection& connection) {
    const std::string pid = *connection.execute("select pg_backend_pid()").rows[0][0];
    end_backend(pid);
  }
  void end_backend(const std::string& pid) { observer_->execute("select pg_terminate_backend($1::int, 60000)", {pid}); }
  // Once the session is in pg_sleep().
  void wait_until_asleep(const std::string& pid) {
    const std::string query = "select wait_event from pg_stat_activity where pid = $1::int";
    EXPECT_TRUE(eventually([&] {
      const auto result = observer_->execute(query, {pid});
      return !result.rows.empty() && result.rows[0][0] == "PgSleep";
    }));
  }

  PostgresConfig config_;
  std::shared_ptr<PostgresConnection> observer_;
  std::string warnings_;
};

TEST_F(Postgres, TheConnectionIsMadeWhenWantedAndReused) {
  PostgresConnectionManager manager(config_);
  EXPECT_FALSE(manager.is_alive());
  EXPECT_EQ(manager.connections_opened(), 0);
  const auto first = manager.get_connection();
  EXPECT_EQ(manager.get_connection(), first);
  EXPECT_TRUE(manager.is_alive());
  manager.close();
  EXPECT_FALSE(manager.is_alive());
  EXPECT_EQ(code_of([&] { manager.get_connection(); }), "connection.closed");
  EXPECT_FALSE(first->is_open());
}

TEST_F(Postgres, WorkIsSeenByOthersWhenCommitted) {
  PostgresConnectionManager manager(config_);
  manager.commit();  // of nothing
  insert(manager, 1);
  EXPECT_EQ(rows(), "0");
  manager.commit();
  EXPECT_EQ(rows(), "1");
  insert(manager, 2);
  manager.rollback();
  EXPECT_EQ(rows(), "1");
}

TEST_F(Postgres, AutocommitCommitsEachStatementButWhatBeginOpened) {
  PostgresConfig config = config_;
  config.autocommit = true;
  PostgresConnectionManager manager(config);
  insert(manager, 1);
  EXPECT_EQ(rows(), "1");
  const auto connection = manager.get_postgres_connection();
  connection->begin();
  EXPECT_TRUE(connection->in_transaction());
  EXPECT_EQ(code_of([&] { connection->begin(); }), "postgres.in_transaction");
  insert(manager, 2);
  EXPECT_EQ(rows(), "1");
  connection->commit();
  EXPECT_FALSE(connection->in_transaction());
  EXPECT_EQ(rows(), "2");
}

TEST_F(Postgres, LeavingTheScopeRollsBackAndSaysSo) {
  {
    PostgresConnectionManager manager(config_);
    manager.get_postgres_connection()->execute("select count(*) from connection_test.t");
  }
  EXPECT_EQ(warnings_, "") << "only reading needs no warning";
  {
    PostgresConnectionManager manager(config_);
    insert(manager, 1);
  }
  EXPECT_EQ(rows(), "0");
  EXPECT_NE(warnings_.find("uncommitted work is rolled back"), std::string::npos);
}

TEST_F(Postgres, AFailedTransactionIsNotCommitted) {
  PostgresConnectionManager manager(config_);
  insert(manager, 1);
  EXPECT_EQ(code_of([&] { insert(manager, 1); }).substr(0, 9), "postgres.");
  EXPECT_EQ(code_of([&] { manager.commit(); }), "postgres.transaction_failed");
  EXPECT_EQ(rows(), "0");
  insert(manager, 3);  // the connection goes on
  manager.commit();
  EXPECT_EQ(rows(), "1");
}

TEST_F(Postgres, CursorsDescribeAndFetch) {
  PostgresConnectionManager manager(config_);
  const auto cursor = manager.get_connection()->cursor();
  cursor->execute("select n, n::numeric(10,2) as price, null::text as nothing from generate_series(1, $1::int) n", {"3"});
  ASSERT_EQ(cursor->description().size(), 3u);
  EXPECT_EQ(cursor->description()[0].type, "integer");
  EXPECT_EQ(cursor->description()[1].name, "price");
  EXPECT_EQ(cursor->description()[1].scale, 2);
  EXPECT_EQ(cursor->fetchone(), (Row{"1", "1.00", std::nullopt}));
  EXPECT_EQ(cursor->fetchmany(1).size(), 1u);
  EXPECT_EQ(cursor->fetchall().size(), 1u);
  EXPECT_EQ(cursor->fetchone(), std::nullopt);
  cursor->execute("insert into connection_test.t select generate_series(1, 4)");
  EXPECT_EQ(cursor->rowcount(), 4);
  cursor->close();
  EXPECT_EQ(code_of([&] { cursor->execute("select 1"); }), "postgres.cursor_closed");
  manager.rollback();
}

TEST_F(Postgres, ABackendThatWasEndedIsNoticedWithoutTheNetworkAndReplaced) {
  PostgresConnectionManager manager(config_);
  const auto first = manager.get_postgres_connection();
  const std::string pid = *first->execute("select pg_backend_pid()").rows[0][0];
  manager.commit();
  EXPECT_TRUE(first->is_open());
  end_backend(pid);
  EXPECT_FALSE(first->is_open());
  const auto second = manager.get_postgres_connection();
  EXPECT_NE(second, first);
  EXPECT_EQ(*second->execute("select 1").rows[0][0], "1");
  EXPECT_EQ(manager.connections_opened(), 2);
  manager.commit();
}

TEST_F(Postgres, LostWorkIsSaidOnceAndThenTheConnectionServesAgain) {
  PostgresConnectionManager manager(config_);
  insert(manager, 1);
  end_backend(*manager.get_postgres_connection());
  EXPECT_EQ(code_of([&] { manager.get_connection(); }), "postgres.transaction_lost");
  insert(manager, 2);
  manager.commit();
  EXPECT_EQ(rows(), "1");
}

TEST_F(Postgres, AStatementThatLosesItsConnectionSaysSo) {
  PostgresConnectionManager manager(config_);
  const auto connection = manager.get_postgres_connection();
  const std::string pid = *connection->execute("select pg_backend_pid()").rows[0][0];
  std::jthread ends([&] {
    wait_until_asleep(pid);
    end_backend(pid);
  });
  try {
    connection->execute("select pg_sleep(600)");
    ADD_FAILURE() << "slept";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::connection);
    EXPECT_TRUE(error.connection_lost());
  }
  EXPECT_FALSE(connection->is_open());
}

TEST_F(Postgres, ACommitWhoseAnswerIsLostIsInDoubt) {
  PostgresConnectionManager manager(config_);
  insert(manager, 1);
  const auto connection = manager.get_postgres_connection();
  // The deferred check runs inside COMMIT, long enough for the connection to be cut there.
  connection->execute(
      "create function connection_test.slow() returns trigger language plpgsql as "
      "$$begin perform pg_sleep(600); return null; end$$");
  connection->execute(
      "create constraint trigger slow after insert on connection_test.t deferrable initially deferred "
      "for each row execute function connection_test.slow()");
  insert(manager, 2);
  const std::string pid = *connection->execute("select pg_backend_pid()").rows[0][0];
  std::jthread ends([&] {
    wait_until_asleep(pid);
    end_backend(pid);
  });
  try {
    manager.commit();
    ADD_FAILURE() << "committed";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::commit_in_doubt);
    EXPECT_EQ(error.exit_code(), 9);
  }
  EXPECT_EQ(rows(), "0");
}

TEST_F(Postgres, AStopRequestCancelsAStatement) {
  PostgresConnectionManager manager(config_);
  const auto connection = manager.get_postgres_connection();
  const std::string pid = *connection->execute("select pg_backend_pid()").rows[0][0];
  std::stop_source stop;
  std::jthread stopper([&] {
    wait_until_asleep(pid);
    stop.request_stop();
  });
  {
    const WaitScope waiting(*connection, {.stop = stop.get_token()});
    EXPECT_EQ(code_of([&] { connection->execute("select pg_sleep(600)"); }), "postgres.stopped");
    EXPECT_EQ(code_of([&] { connection->execute("select 1"); }), "postgres.stopped") << "nothing new is sent";
    EXPECT_EQ(code_of([&] { connection->commit(); }), "postgres.transaction_failed");
  }
  EXPECT_FALSE(connection->in_transaction());
  EXPECT_EQ(*connection->execute("select 1").rows[0][0], "1");
  manager.rollback();
}

TEST_F(Postgres, ACopyThatAStopRequestKeptFromEndingCanBeAbandoned) {
  PostgresConnectionManager manager(config_);
  const auto connection = manager.get_postgres_connection();
  {
    std::stop_source stop;
    const WaitScope waiting(*connection, {.stop = stop.get_token()});
    const auto copy = connection->copy_in("copy connection_test.t from stdin");
    copy->write(std::string_view("1\n"));
    stop.request_stop();
    EXPECT_EQ(code_of([&] { copy->finish(); }), "postgres.stopped");
    copy->abandon();
    connection->rollback();
  }
  EXPECT_TRUE(connection->is_open());
  EXPECT_EQ(*connection->execute("select count(*) from connection_test.t").rows[0][0], "0");
  manager.rollback();
}

TEST_F(Postgres, AWaitThatIsShortLeavesTheNoteThatIsThere) {
  PostgresConnectionManager manager(config_);
  const auto connection = manager.get_postgres_connection();
  ProgressNote note;
  note.set("waiting for somebody's lock");
  const WaitScope waiting(*connection, {.note = &note});
  connection->execute("select pg_sleep(0.05)");
  EXPECT_EQ(note.get(), "waiting for somebody's lock");
  manager.rollback();
}

TEST_F(Postgres, CopyCountsRowsAndAnUnfinishedOneLeavesNothing) {
  PostgresConnectionManager manager(config_);
  const auto connection = manager.get_postgres_connection();
  auto copy = connection->copy_in("copy connection_test.t from stdin");
  copy->write(std::string_view("1\n2\n"));
  copy->write(std::string_view("3\n"));
  EXPECT_EQ(copy->finish(), 3);
  manager.commit();
  copy = connection->copy_in("copy connection_test.t from stdin");
  copy->write(std::string_view("4\n"));
  copy->abandon();
  EXPECT_EQ(code_of([&] { manager.commit(); }), "postgres.transaction_failed");
  EXPECT_EQ(rows(), "3");
  copy = connection->copy_in("copy connection_test.t from stdin");
  copy->write(std::string_view("not a number\n"));
  EXPECT_NE(code_of([&] { copy->finish(); }), "no error");
  manager.rollback();
  EXPECT_EQ(rows(), "3");
  EXPECT_EQ(code_of([&] { connection->copy_in("select 1"); }), "postgres.not_a_copy");
}

// A trigger or function may say the same of every row.
TEST_F(Postgres, WarningsOfTheServerAreShownOnceEach) {
  const auto connection = open_postgres(config_);
  const std::string say =
      "do $$ begin for i in 1..3 loop raise warning 'the disk is % full', $1; raise notice 'only a notice'; end loop; end $$";
  const auto said = [&](const std::string& number) { connection->execute(std::string(say).replace(say.find("$1"), 2, number)); };
  said("90");
  said("90");
  EXPECT_EQ(warnings_, "PostgreSQL warns: the disk is 90 full\n");
  said("95");
  EXPECT_EQ(warnings_, "PostgreSQL warns: the disk is 90 full\nPostgreSQL warns: the disk is 95 full\n");
  connection->execute("do $$ begin raise warning E'a\\nerror: b'; end $$");
  EXPECT_TRUE(warnings_.ends_with("PostgreSQL warns: a error: b\n")) << "no line of the server's looks like ours: " << warnings_;
  connection->execute("do $$ begin for i in 1..1000 loop raise warning 'row %', i; end loop; end $$");
  EXPECT_EQ(std::count(warnings_.begin(), warnings_.end(), '\n'), 101) << "a hundred, and that there are more";
}

TEST_F(Postgres, FailuresSayWhatToDo) {
  const auto other = open_postgres(config_);
  const auto refused = [](PostgresConnection& connection, const std::string& sql) {
    try {
      connection.execute(sql);
    } catch (const PostgresError& error) {
      connection.rollback();
      return error.code() + " " + error.what();
    }
    return std::string("accepted");
  };
  const auto starts = [](const std::string& text, const std::string& code) { return text.starts_with(code + " "); };
  // Simultaneous CREATEs: which catalog's index notices them depends on who is how far.
  other->execute("create table connection_test.twice (n int)");
  std::string lost;
  const auto third = open_postgres(config_);
  const std::string pid = *third->execute("select pg_backend_pid()").rows[0][0];
  {
    std::jthread second([&] { lost = refused(*third, "create table connection_test.twice (n int)"); });
    EXPECT_TRUE(eventually([&] {
      return observer_->execute("select wait_event_type from pg_stat_activity where pid = $1::int", {pid}).rows[0][0] == "Lock";
    }));
    other->commit();
  }
  EXPECT_TRUE(starts(lost, "postgres.table_exists")) << lost;
  EXPECT_NE(lost.find("another session made"), std::string::npos) << lost;

  EXPECT_TRUE(starts(refused(*other, "create table connection_test.t (n int)"), "postgres.table_exists"));
  other->execute("set transaction read only");
  EXPECT_TRUE(starts(refused(*other, "create table connection_test.x (n int)"), "postgres.read_only"));
  other->execute("create view connection_test.v as select n from connection_test.t");
  EXPECT_TRUE(starts(refused(*other, "drop table connection_test.t"), "postgres.has_dependents"));
  other->execute("set local role pg_monitor");
  EXPECT_TRUE(starts(refused(*other, "select count(*) from connection_test.t"), "postgres.permission_denied"));
  other->execute("grant usage on schema connection_test to pg_monitor");
  other->execute("set local role pg_monitor");
  EXPECT_TRUE(starts(refused(*other, "drop table connection_test.t"), "postgres.not_owner"));
  other->execute("lock table connection_test.t");
  third->execute("set local lock_timeout = 1");
  EXPECT_TRUE(starts(refused(*third, "lock table connection_test.t"), "postgres.locked"));
  other->rollback();
}

TEST(PostgresNames, AreQuoted) {
  EXPECT_EQ(quote_identifier("a\"b"), "\"a\"\"b\"");
  EXPECT_EQ(quote_literal("it's"), "'it''s'");
  EXPECT_EQ(quote_literal("a\\b"), " E'a\\\\b'");
  EXPECT_EQ(code_of([] { quote_identifier(std::string_view("a\0b", 3)); }), "postgres.nul_in_name");
}

}  // namespace
}  // namespace snowmelt
