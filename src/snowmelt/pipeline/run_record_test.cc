#include "snowmelt/pipeline/run_record.h"

#include <gtest/gtest.h>

#include "snowmelt/error.h"
#include "snowmelt/storage/test_directory.h"

namespace snowmelt {
namespace {

using Exports = std::vector<std::string>;

TableConfig table_of(const std::string& name, LoadMode mode = LoadMode::append) {
  TableConfig table;
  table.source = table.name = name;
  table.target = "public." + name;
  table.mode = mode;
  return table;
}

const TableConfig kA = table_of("A"), kB = table_of("B", LoadMode::replace), kC = table_of("C");

class RunRecordTest : public testing::Test {
 protected:
  // A run that is cut off before it can finish.
  void begin(const std::string& run, const std::vector<TableConfig>& tables) {
    RunRecord record(directory_.path(), run);
    record.begin(tables);
    for (const TableConfig& table : tables) record.begin_export(table, run + "-" + table.name);
  }
  void run(const std::string& id, const std::vector<TableConfig>& tables, const std::vector<bool>& done,
           const std::vector<TableConfig>& configured) {
    RunRecord record(directory_.path(), id);
    record.begin(tables);
    for (const TableConfig& table : tables) record.begin_export(table, id + "-" + table.name);
    record.finish(tables, done, configured);
  }
  Exports exports(const TableConfig& table) const { return RunRecord(directory_.path(), "look").begun_exports(table); }
  std::filesystem::path file() const { return directory_.path() / ".last-run.json"; }

  TestDirectory directory_;
};

TEST_F(RunRecordTest, AppendsAreKnownUntilTheRunIsOver) {
  run("r1", {kA, kB}, {true, false}, {kA, kB});
  EXPECT_EQ(exports(kA), (Exports{"r1-A"}));
  EXPECT_EQ(exports(kB), Exports{});  // replace may be done again
  run("r2", {kA, kB}, {true, true}, {kA, kB});
  EXPECT_EQ(exports(kA), Exports{});
  EXPECT_FALSE(std::filesystem::exists(file()));
}

TEST_F(RunRecordTest, AKilledRunIsCarriedOnTableByTable) {
  begin("r1", {kA, kB});
  run("r2", {kA}, {true}, {kA, kB});
  EXPECT_EQ(exports(kA), (Exports{"r1-A", "r2-A"}));
  run("r3", {kC}, {true}, {kA, kB, kC});  // another table's run is none of its business
  EXPECT_EQ(exports(kC), Exports{});
  EXPECT_FALSE(exports(kA).empty());
  run("r4", {kB}, {true}, {kA, kB, kC});
  EXPECT_EQ(exports(kA), Exports{});
}

TEST_F(RunRecordTest, ATableThatIsConfiguredNoMoreKeepsNoRunOpen) {
  begin("r1", {kA, kB});
  run("r2", {kA}, {true}, {kA});
  EXPECT_FALSE(std::filesystem::exists(file()));
}

TEST_F(RunRecordTest, AnotherQueryIsAnotherTableAndAnotherNameIsNot) {
  begin("r1", {kA});
  TableConfig other = kA;
  other.source.clear();
  other.query = "select 1";
  EXPECT_EQ(exports(other), Exports{});
  begin("r2", {other});
  EXPECT_EQ(exports(other), (Exports{"r2-A"}));
  EXPECT_EQ(exports(kA), Exports{});
  other.name = "renamed";
  EXPECT_EQ(exports(other), (Exports{"r2-A"}));
}

TEST_F(RunRecordTest, OfTwoRunsAtOnceTheLaterOnesTablesStay) {
  RunRecord first(directory_.path(), "r1");
  first.begin({kA});
  RunRecord second(directory_.path(), "r2");
  second.begin({kA});
  second.begin_export(kA, "r2-A");
  first.begin_export(kA, "r1-A");
  first.finish({kA}, {true}, {kA});
  EXPECT_EQ(exports(kA), (Exports{"r2-A", "r1-A"}));
  second.finish({kA}, {true}, {kA});
  EXPECT_EQ(exports(kA), Exports{});
}

TEST_F(RunRecordTest, RunsWithoutAppendLeaveNothing) {
  run("r1", {kB}, {false}, {kB});
  EXPECT_EQ(file_names(directory_.path()), std::vector<std::string>{});
}

TEST_F(RunRecordTest, EveryDamageIsRefusedByName) {
  begin("r1", {kA});
  const std::string whole = read_file(file());
  for (size_t at = 0; at + 1 < whole.size(); ++at) {
    if (whole[at] == ' ' || whole[at] == '\n') continue;  // outside of texts, of no meaning
    for (const bool cut : {false, true}) {
      std::string damaged = cut ? whole.substr(0, at) : whole;
      if (!cut) damaged[at] = static_cast<char>(damaged[at] ^ 1);
      write_file(file(), damaged);
      try {
        exports(kA);
        ADD_FAILURE() << "byte " << at << " of " << whole;
      } catch (const FileError& error) {
        EXPECT_EQ(error.code(), "run.record_damaged");
        EXPECT_NE(error.where().find(".last-run.json"), std::string::npos);
        EXPECT_NE(error.hint().find("delete the file"), std::string::npos);
      }
    }
  }
}

}  // namespace
}  // namespace snowmelt
