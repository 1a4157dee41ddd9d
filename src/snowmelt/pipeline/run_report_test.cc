#include "snowmelt/pipeline/run_report.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace snowmelt {
namespace {

TEST(RunReport, ExitCodeIsTheFirstFailures) {
  RunReport report;
  report.tables.resize(3);
  report.tables[0].status = RunStatus::ok;
  report.tables[1].fail(QueryError("snowflake.query_refused", "no such table"));
  report.tables[2].fail(PostgresError("postgres.refused", "no"));
  report.conclude();
  EXPECT_EQ(report.exit_code(), 5);
  EXPECT_EQ(report.status, RunStatus::failed);
}

TEST(RunReport, JsonHasTheContractsKeys) {
  RunReport report{.run_id = new_run_id(), .logins = 1, .error = std::nullopt};
  report.tables.push_back(
      {.source = "D.P.T", .target = "p.t", .rows = 2, .bytes = 10, .parts = 1, .status = RunStatus::ok, .error = std::nullopt});
  report.conclude();
  const auto json = nlohmann::json::parse(report.to_json());
  EXPECT_EQ(json["status"], "ok");
  EXPECT_EQ(json["logins"], 1);
  for (const char* key : {"source", "target", "rows", "bytes", "seconds", "parts", "status"})
    EXPECT_TRUE(json["tables"][0].contains(key)) << key;
}

TEST(RunReport, InterruptedBeatsFailed) {
  RunReport report;
  report.tables.resize(2);
  report.tables[0].fail(QueryError("a", "b"));
  report.tables[1].fail(Interrupted("run.interrupted", "stopped"));
  report.conclude();
  EXPECT_EQ(report.status, RunStatus::interrupted);
}

TEST(RunReport, SkippedForAReasonIsDone) {
  RunReport report;
  report.tables.resize(2);
  report.tables[0].status = RunStatus::ok;
  report.conclude();
  EXPECT_EQ(report.status, RunStatus::failed);
  report.tables[1].reason = "its rows are there";
  report.conclude();
  EXPECT_EQ(report.status, RunStatus::ok);
  EXPECT_EQ(report.exit_code(), 0);
  EXPECT_EQ(nlohmann::json::parse(report.to_json())["tables"][1]["reason"], "its rows are there");
}

}  // namespace
}  // namespace snowmelt
