#include "snowmelt/load/postgresql_data_loader.h"

#include <arrow/util/decimal.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <thread>
#include <utility>

#include "snowmelt/connections/postgres_connection.h"
#include "snowmelt/connections/test_postgres.h"
#include "snowmelt/error.h"
#include "snowmelt/log.h"
#include "snowmelt/storage/parquet_file.h"
#include "snowmelt/storage/test_directory.h"
#include "snowmelt/test_events.h"

namespace snowmelt {
namespace {

namespace fs = std::filesystem;

class Loader : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto server = test_postgres();
    if (!server) GTEST_SKIP() << kNoTestServer;
    config_ = *server;
    manager_ = std::make_shared<PostgresConnectionManager>(config_);
    ask("drop schema if exists load_test cascade");
    ask("create schema load_test");
    manager_->commit();
  }
  void TearDown() override {
    if (manager_ == nullptr) return;
    manager_->rollback();
    ask("drop schema load_test cascade");
    manager_->commit();
  }

  std::string ask(const std::string& sql) {
    const auto result = manager_->get_postgres_connection()->execute(sql);
    return result.rows.empty() || result.rows[0].empty() ? "" : result.rows[0][0].value_or("NULL");
  }

  // One file of the columns, whose fields must match.
  fs::path write(const std::string& name, const std::shared_ptr<arrow::RecordBatch>& batch,
                 std::vector<SourceColumn> source = {}) {
    if (source.empty()) {
      for (const auto& field : batch->schema()->fields()) source.push_back({field->name(), "", field->nullable()});
    }
    ParquetPartWriter writer(directory_.path(), name, batch->schema(), source, {});
    writer.write_row_group({batch});
    writer.finish();
    return directory_.path() / name;
  }

  fs::path numbers(const std::string& name, int64_t from, int64_t to) {
    arrow::Int64Builder builder;
    for (int64_t i = from; i < to; ++i) EXPECT_TRUE(builder.Append(i).ok());
    const auto schema = arrow::schema({arrow::field("N", arrow::int64())});
    return write(name, arrow::RecordBatch::Make(schema, to - from, {builder.Finish().ValueOrDie()}));
  }

  TestDirectory directory_;
  PostgresConfig config_;
  std::shared_ptr<PostgresConnectionManager> manager_;
};

// Every unscaled value of a small domain at every scale: PostgreSQL's own arithmetic is the judge.
TEST_F(Loader, NumericIsExactOverAWholeDomain) {
  constexpr int64_t kMost = 20'400;
  constexpr int kScales = 10;
  arrow::Int64Builder values;
  std::vector<std::unique_ptr<arrow::Decimal128Builder>> builders;
  arrow::FieldVector fields{arrow::field("V", arrow::int64())};
  for (int scale = 0; scale < kScales; ++scale) {
    builders.push_back(std::make_unique<arrow::Decimal128Builder>(arrow::decimal128(19, scale)));
    fields.push_back(arrow::field("D" + std::to_string(scale), arrow::decimal128(19, scale)));
  }
  for (int64_t value = -kMost; value <= kMost; ++value) {
    ASSERT_TRUE(values.Append(value).ok());
    for (const auto& builder : builders) ASSERT_TRUE(builder->Append(arrow::Decimal128(value)).ok());
  }
  arrow::ArrayVector arrays{values.Finish().ValueOrDie()};
  for (const auto& builder : builders) arrays.push_back(builder->Finish().ValueOrDie());
  const auto file = write("n.parquet", arrow::RecordBatch::Make(arrow::schema(fields), 2 * kMost + 1, arrays));

  EXPECT_EQ(PostgreSQLDataLoader(manager_).load_parquet_to_table(file, "load_test.n"), 2 * kMost + 1);
  std::string wrong = "select count(*) from load_test.n where false";
  for (int scale = 0; scale < kScales; ++scale) {
    const std::string column = "d" + std::to_string(scale);
    wrong += " or " + column + "::text is distinct from (v * 1e-" + std::to_string(scale) + "::numeric)::numeric(19," +
             std::to_string(scale) + ")::text";
    // A digit string with a leading or trailing zero would print alike but compare and store otherwise.
    wrong += " or numeric_send(" + column + ") is distinct from numeric_send((v * 1e-" + std::to_string(scale) +
             "::numeric)::numeric(19," + std::to_string(scale) + "))";
  }
  EXPECT_EQ(ask(wrong), "0");
}

TEST_F(Loader, TheCallerCommitsAndARollbackUndoesTheLoad) {
  const auto file = numbers("n.parquet", 0, 1000);
  PostgreSQLDataLoader loader(manager_);
  loader.load_parquet_to_table(file, "load_test.n");
  EXPECT_TRUE(manager_->get_postgres_connection()->in_transaction());
  manager_->rollback();
  EXPECT_EQ(ask("select to_regclass('load_test.n')"), "NULL");
  loader.load_parquet_to_table(file, "load_test.n");
  manager_->commit();
  EXPECT_EQ(ask("select sum(n) from load_test.n"), "499500");
}

TEST_F(Loader, AFailedLoadKeepsTheCallersEarlierWork) {
  ask("create table load_test.earlier as select 1 as one");
  ask("create table load_test.n (n smallint)");
  PostgreSQLDataLoader loader(manager_);
  const auto file = numbers("n.parquet", 32'700, 32'800);
  try {
    loader.load_parquet_to_table(file, "load_test.n", {.mode = LoadMode::append});
    ADD_FAILURE();
  } catch (const ValueError& error) {
    EXPECT_NE(std::string(error.what()).find("column n, row 69"), std::string::npos) << error.what();
    EXPECT_NE(std::string(error.what()).find("n.parquet"), std::string::npos);
    EXPECT_NE(std::string(error.what()).find("load_test.n"), std::string::npos);
  }
  manager_->commit();
  EXPECT_EQ(ask("select one from load_test.earlier"), "1");
  EXPECT_EQ(ask("select count(*) from load_test.n"), "0");
}

TEST_F(Loader, WithAutocommitALoadIsATransactionOfItsOwn) {
  config_.autocommit = true;
  const auto manager = std::make_shared<PostgresConnectionManager>(config_);
  const auto file = numbers("n.parquet", 0, 10);
  PostgreSQLDataLoader(manager).load_parquet_to_table(file, "load_test.n");
  EXPECT_FALSE(manager->get_postgres_connection()->in_transaction());
  EXPECT_EQ(ask("select count(*) from load_test.n"), "10");
  EXPECT_THROW(PostgreSQLDataLoader(manager).load_parquet_to_table(file, "load_test.n"),
               PostgresError);  // create, and it is there
  EXPECT_FALSE(manager->get_postgres_connection()->in_transaction());
}

TEST_F(Loader, ADirectoryOfOtherPeoplesFilesIsLoadedInOrder) {
  numbers("a.parquet", 0, 10);
  numbers("b.parquet", 10, 30);
  EXPECT_EQ(PostgreSQLDataLoader(manager_).load_parquet_to_table(directory_.path(), "load_test.n"), 30);
}

TEST_F(Loader, FilesThatCannotBeLoadedSaySo) {
  PostgreSQLDataLoader loader(manager_);
  const auto code_of = [&](const fs::path& path) -> std::string {
    try {
      loader.load_parquet_to_table(path, "load_test.n");
    } catch (const FileError& error) {
      return error.code();
    }
    return "";
  };
  EXPECT_NE(code_of(directory_.path() / "missing.parquet"), "");
  EXPECT_NE(code_of(directory_.path()), "");  // empty
  write_file(directory_.path() / "text.parquet", "this is not Parquet");
  EXPECT_NE(code_of(directory_.path() / "text.parquet"), "");
  const auto good = numbers("good.parquet", 0, 10'000);
  const std::string bytes = read_file(good);
  write_file(directory_.path() / "short.parquet", bytes.substr(0, bytes.size() / 2));
  EXPECT_NE(code_of(directory_.path() / "short.parquet"), "");
  // Parts of ours without a manifest are an export that never ended.
  fs::create_directory(directory_.path() / "export");
  fs::copy(good, directory_.path() / "export" / "part-20261124T000000-0123abcd-00000.parquet");
  EXPECT_NE(code_of(directory_.path() / "export"), "");
  EXPECT_EQ(ask("select to_regclass('load_test.n')"), "NULL");
}

TEST_F(Loader, ServerRefusalsNameTheLine) {
  ask("create table load_test.n (n bigint check (n < 5))");
  const auto file = numbers("n.parquet", 0, 10);
  try {
    PostgreSQLDataLoader(manager_).load_parquet_to_table(file, "load_test.n", {.mode = LoadMode::append});
    ADD_FAILURE();
  } catch (const PostgresError& error) {
    EXPECT_EQ(error.sqlstate(), "23514");
    EXPECT_NE(error.where().find("line 6"), std::string::npos) << error.what();
  }
}

TEST_F(Loader, StoppingCancelsAStatementThatWaits) {
  ask("create table load_test.n (n bigint)");
  manager_->commit();
  PostgresConnectionManager other(config_);
  other.get_postgres_connection()->execute("lock table load_test.n in access exclusive mode");
  std::stop_source stop;
  PostgresConfig autocommit = config_;
  autocommit.autocommit = true;
  const auto observer = open_postgres(autocommit);
  std::jthread later([&] {
    const char* waiting = "select count(*) from pg_locks where not granted and relation = 'load_test.n'::regclass";
    EXPECT_TRUE(eventually([&] { return observer->execute(waiting).rows[0][0] != "0"; }));
    stop.request_stop();
  });
  const auto file = numbers("n.parquet", 0, 10);
  EXPECT_THROW(PostgreSQLDataLoader(manager_).load_parquet_to_table(file, "load_test.n",
                                                                    {.mode = LoadMode::append, .stop = stop.get_token()}),
               Interrupted);
  other.rollback();
}

// A stopped export removes its parts: the loader, which misses one then, was stopped too.
TEST_F(Loader, WhatFailsWhileStoppingIsInterrupted) {
  struct Stopping : PartSource {
    std::optional<Part> next() override {
      if (!std::exchange(begun, true)) return Part{first, ""};
      stop.request_stop();
      return Part{"/nowhere/part.parquet", ""};
    }
    fs::path first;
    std::stop_source stop;
    bool begun = false;
  };
  Stopping parts;
  parts.first = numbers("n.parquet", 0, 10);
  EXPECT_THROW(PostgreSQLDataLoader(manager_).load_parquet_to_table(parts, "load_test.n", {.stop = parts.stop.get_token()}),
               Interrupted);
  manager_->rollback();
}

}  // namespace
}  // namespace snowmelt
