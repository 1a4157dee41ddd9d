// The loop with tables that exist only here.
#include "snowmelt/pipeline/table_loop.h"

#include <gtest/gtest.h>

#include <atomic>
#include <mutex>
#include <set>
#include <thread>

#include "snowmelt/error.h"

namespace snowmelt {
namespace {

std::vector<TableConfig> tables(int count) {
  std::vector<TableConfig> out(static_cast<size_t>(count));
  for (int i = 0; i < count; ++i) out[static_cast<size_t>(i)].name = std::to_string(i);
  return out;
}

TableReport done(const TableConfig& table) {
  TableReport report;
  report.source = table.name;
  report.status = RunStatus::ok;
  return report;
}

[[noreturn]] void fail_to_reach() { throw ConnectionError("snowflake.unreachable", "connection refused"); }

std::vector<RunStatus> statuses(const RunReport& report) {
  std::vector<RunStatus> out;
  for (const TableReport& table : report.tables) out.push_back(table.status);
  return out;
}

// Counts what it is told; each table is told of by whichever thread has it.
struct Observer : RunObserver {
  std::mutex mutex;
  std::set<size_t> started, finished;
  void table_started(size_t index, const TableConfig&, const std::shared_ptr<const TableProgress>& progress) override {
    EXPECT_NE(progress, nullptr);
    const std::lock_guard lock(mutex);
    started.insert(index);
  }
  void table_finished(size_t index, const TableReport&) override {
    const std::lock_guard lock(mutex);
    finished.insert(index);
  }
};

TEST(TableLoop, EveryTableIsDoneOnceByWhicheverThread) {
  constexpr int kTables = 200;
  Observer observer;
  RunOptions options;
  options.observer = &observer;
  std::vector<std::atomic<int>> times(kTables);
  const RunReport report = for_each_table(
      tables(kTables), options, 4, [] {},
      [&](const TableConfig& table, const auto& progress) {
        progress->rows_exported = 1;
        ++times[std::stoul(table.name)];
        return done(table);
      });
  EXPECT_EQ(report.status, RunStatus::ok);
  for (const auto& count : times) EXPECT_EQ(count, 1);
  EXPECT_EQ(observer.started.size(), static_cast<size_t>(kTables));
  EXPECT_EQ(observer.finished, observer.started);
}

TEST(TableLoop, ThreeTablesInARowThatReachNoServerEndTheRun) {
  for (const int jobs : {1, 4}) {
    const RunReport report = for_each_table(
        tables(50), {}, jobs, [] {},
        [](const TableConfig& table, const auto&) -> TableReport {
          if (std::stoi(table.name) >= 10) fail_to_reach();
          return done(table);
        });
    const auto all = statuses(report);
    const auto failed = std::count(all.begin(), all.end(), RunStatus::failed);
    EXPECT_GE(failed, 3);
    EXPECT_LE(failed, 2 + jobs) << "those that were under way";
    EXPECT_EQ(std::count(all.begin(), all.end(), RunStatus::skipped), 40 - failed);
    ASSERT_TRUE(report.error.has_value());
    EXPECT_EQ(report.error->code, kUnreachable);
    EXPECT_EQ(report.exit_code(), 4);
  }
}

TEST(TableLoop, ASuccessBetweenSaysThatTheServerIsThere) {
  const RunReport report = for_each_table(
      tables(12), {}, 1, [] {},
      [](const TableConfig& table, const auto&) -> TableReport {
        if (std::stoi(table.name) % 3 != 0) fail_to_reach();
        return done(table);
      });
  EXPECT_FALSE(report.error.has_value());
  EXPECT_EQ(report.exit_code(), 4);
  const auto all = statuses(report);
  EXPECT_EQ(std::count(all.begin(), all.end(), RunStatus::failed), 8);
}

TEST(TableLoop, OtherFailuresBetweenAreNoSuccess) {
  const RunReport report = for_each_table(
      tables(6), {}, 1, [] {},
      [](const TableConfig& table, const auto&) -> TableReport {
        if (table.name == "1") throw ValueError("value.beyond", "too large");
        fail_to_reach();
      });
  EXPECT_EQ(statuses(report), (std::vector{RunStatus::failed, RunStatus::failed, RunStatus::failed, RunStatus::failed,
                                           RunStatus::skipped, RunStatus::skipped}));
}

TEST(TableLoop, ARefusedLoginEndsTheRunAtOnce) {
  const RunReport report = for_each_table(
      tables(3), {}, 1, [] {},
      [](const TableConfig&, const auto&) -> TableReport { throw AuthenticationError("snowflake.login_refused", "no"); });
  EXPECT_EQ(statuses(report), (std::vector{RunStatus::failed, RunStatus::skipped, RunStatus::skipped}));
  EXPECT_EQ(report.exit_code(), 3);
}

TEST(TableLoop, WhateverFailsAfterAStopRequestIsInterrupted) {
  std::stop_source stop;
  RunOptions options;
  options.stop = stop.get_token();
  const RunReport report = for_each_table(
      tables(3), options, 1, [] {},
      [&](const TableConfig& table, const auto&) -> TableReport {
        if (table.name == "0") return done(table);
        stop.request_stop();
        throw FileError("file.io", "the part is gone");
      });
  EXPECT_EQ(statuses(report), (std::vector{RunStatus::ok, RunStatus::interrupted, RunStatus::skipped}));
  EXPECT_EQ(report.status, RunStatus::interrupted);
  EXPECT_EQ(report.exit_code(), 130);
}

TEST(TableLoop, ACommitInDoubtStaysOneThoughStopped) {
  std::stop_source stop;
  stop.request_stop();
  TableReport report;
  report.fail(CommitInDoubt("postgres.commit_in_doubt", "?"), stop.get_token());
  EXPECT_EQ(report.status, RunStatus::failed);
  EXPECT_EQ(report.error->exit_code, 9);
}

TEST(TableLoop, AFirstContactThatFailsSkipsAll) {
  const RunReport report = for_each_table(
      tables(2), {}, 2, [] { fail_to_reach(); },
      [](const TableConfig& table, const auto&) {
        ADD_FAILURE();
        return done(table);
      });
  EXPECT_EQ(statuses(report), (std::vector{RunStatus::skipped, RunStatus::skipped}));
  EXPECT_EQ(report.exit_code(), 4);
}

}  // namespace
}  // namespace snowmelt
