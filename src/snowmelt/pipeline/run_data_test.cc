// Both halves of a run: a driver that exists only here, and a server.
#include "snowmelt/pipeline/run_data.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "snowmelt/connections/test_postgres.h"
#include "snowmelt/error.h"
#include "snowmelt/storage/test_directory.h"

namespace snowmelt {
namespace {

// Each table is what `tables` says; statements about metadata are refused.
class FakeDriver : public SnowflakeDriver {
 public:
  Session open(const SnowflakeConfig&, const LoginOptions&) override { return {.handle = 1, .login_kind = "password"}; }
  StatementResult execute(int64_t, const Statement& statement) override {
    constexpr std::string_view kSelect = "select * from ";
    if (!statement.sql.starts_with(kSelect)) throw QueryError("snowflake.query_refused", "no metadata here");
    return table(statement.sql.substr(kSelect.size()));
  }
  StatementResult result(int64_t, const std::string&, std::stop_token) override { return {}; }
  void ping(int64_t, std::stop_token) override {}
  void close(int64_t) noexcept override {}

  std::function<StatementResult(const std::string& name)> table;
};

StatementResult numbers(int rows) {
  StatementResult result;
  result.arrow = false;
  result.query_id = "q";
  SnowflakeColumn column;
  column.name = "N";
  column.type = "fixed";
  column.precision = 9;
  column.scale = 0;
  result.row_type = {column};
  for (int i = 1; i <= rows; ++i) result.rows.push_back({std::to_string(i)});
  result.total = rows;
  return result;
}

class RunData : public testing::Test {
 protected:
  void SetUp() override {
    const auto server = test_postgres();
    if (!server) GTEST_SKIP() << kNoTestServer;
    PostgresConfig config = *server;
    postgres_ = std::make_shared<PostgresConnectionManager>(config);
    config.autocommit = true;
    observer_ = open_postgres(config);
    observer_->execute("drop schema if exists run_data cascade");
    observer_->execute("create schema run_data");
    SnowflakeConfig snowflake;
    snowflake.account = "acct";
    snowflake.user = "ana";
    snowflake.password = Secret("secret");
    snowflake_ = std::make_shared<SnowflakeConnectionManager>(snowflake, driver_);
    options_.export_.directory = directory_.path();
    options_.stop = stop_.get_token();
  }
  void TearDown() override {
    if (observer_) observer_->execute("drop schema if exists run_data cascade");
  }

  RunReport run(int count) {
    std::vector<TableConfig> tables(static_cast<size_t>(count));
    for (int i = 0; i < count; ++i) {
      TableConfig& table = tables[static_cast<size_t>(i)];
      table.source = table.name = "D.S.T" + std::to_string(i);
      table.target = "run_data.t" + std::to_string(i);
    }
    return run_data(tables, tables, snowflake_, postgres_, options_);
  }
  std::string ask(const std::string& sql) { return observer_->execute(sql).rows.at(0).at(0).value_or("NULL"); }
  static int64_t count(const RunReport& report, RunStatus status) {
    return std::count_if(report.tables.begin(), report.tables.end(),
                         [&](const TableReport& table) { return table.status == status; });
  }

  TestDirectory directory_;
  std::shared_ptr<FakeDriver> driver_ = std::make_shared<FakeDriver>();
  std::shared_ptr<SnowflakeConnectionManager> snowflake_;
  std::shared_ptr<PostgresConnectionManager> postgres_;
  std::shared_ptr<PostgresConnection> observer_;
  RunOptions options_;
  std::stop_source stop_;
};

TEST_F(RunData, EveryTableArrivesAndIsReported) {
  driver_->table = [](const std::string& name) { return numbers(name == "D.S.T1" ? 0 : 5); };
  const RunReport report = run(3);
  EXPECT_EQ(report.status, RunStatus::ok) << (report.error ? report.error->message : "");
  EXPECT_EQ(report.logins, 1);
  EXPECT_EQ(report.tables[0].rows, 5);
  EXPECT_EQ(ask("select sum(n) from run_data.t2"), "15");
  EXPECT_EQ(ask("select count(*) from run_data.t1"), "0");
  EXPECT_EQ(ask("select count(*) from pg_stat_activity where state like 'idle in transaction%'"), "0") << "all is committed";
}

TEST_F(RunData, AFailedTableStopsNoOther) {
  driver_->table = [](const std::string& name) {
    if (name == "D.S.T1") throw QueryError("snowflake.query_refused", "not authorized");
    return numbers(5);
  };
  const RunReport report = run(3);
  EXPECT_EQ(count(report, RunStatus::ok), 2);
  EXPECT_EQ(report.exit_code(), 5);
  EXPECT_EQ(ask("select coalesce(to_regclass('run_data.t1')::text, 'none')"), "none");
}

TEST_F(RunData, TheExportsFailureIsTheReportsCause) {
  driver_->table = [](const std::string&) {
    StatementResult result = numbers(5);
    result.total = 6;
    result.rows.push_back({"123456789012345678901234567890"});
    return result;
  };
  const RunReport report = run(1);
  ASSERT_TRUE(report.tables[0].error.has_value());
  EXPECT_EQ(report.tables[0].error->kind, "value") << report.tables[0].error->message;
}

TEST_F(RunData, ASnowflakeThatIsGoneEndsTheRun) {
  for (const int jobs : {1, 3}) {
    SetUp();
    options_.jobs = jobs;
    driver_->table = [](const std::string& name) {
      if (name.size() > std::string("D.S.T0").size()) throw ConnectionError("snowflake.unreachable", "connection refused");
      return numbers(1);
    };
    const RunReport report = run(40);
    EXPECT_EQ(count(report, RunStatus::ok), 10);
    EXPECT_GE(count(report, RunStatus::failed), 3);
    EXPECT_LE(count(report, RunStatus::failed), 3 + jobs);
    EXPECT_GT(count(report, RunStatus::skipped), 0);
    ASSERT_TRUE(report.error.has_value());
    EXPECT_EQ(report.error->code, "run.unreachable");
    EXPECT_EQ(report.exit_code(), 4);
  }
}

TEST_F(RunData, AStoppedRunIsInterruptedAndWhatWasDoneStays) {
  options_.jobs = 1;
  driver_->table = [this](const std::string& name) -> StatementResult {
    if (name == "D.S.T0") return numbers(5);
    while (ask("select coalesce(to_regclass('run_data.t0')::text, 'none')") == "none") {
    }
    stop_.request_stop();
    throw ConnectionError("snowflake.unreachable", "the link was cut meanwhile");
  };
  const RunReport report = run(3);
  EXPECT_EQ(report.status, RunStatus::interrupted);
  EXPECT_EQ(report.exit_code(), 130);
  EXPECT_EQ(report.tables[1].status, RunStatus::interrupted);
  EXPECT_EQ(report.tables[2].status, RunStatus::skipped);
  EXPECT_EQ(ask("select sum(n) from run_data.t0"), "15");
}

}  // namespace
}  // namespace snowmelt
