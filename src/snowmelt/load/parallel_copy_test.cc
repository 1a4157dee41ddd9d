#include "snowmelt/load/parallel_copy.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <thread>

#include "snowmelt/error.h"
#include "snowmelt/load/test_plan.h"
#include "snowmelt/storage/test_directory.h"

namespace snowmelt {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kGroupRows = 70'000;  // a piece of its own

// Counts what a connection is asked for. Its COPY says it had as many rows as there were 14-byte rows (one bigint) in the bytes.
class FakeConnection : public PostgresConnection {
 public:
  struct Stream : CopyStream {
    explicit Stream(FakeConnection& connection) : owner(connection) {}
    void write(std::span<const char> bytes) override {
      if (owner.on_write) owner.on_write();
      size += bytes.size();
    }
    void abandon() noexcept override { ++owner.abandoned; }
    int64_t finish() override { return static_cast<int64_t>(size - 19 - 2) / 14; }
    FakeConnection& owner;
    size_t size = 0;
  };
  std::unique_ptr<Cursor> cursor() override { return nullptr; }
  bool is_open() const override { return true; }
  Result execute(std::string_view, const std::vector<Value>&) override { return {}; }
  std::unique_ptr<CopyStream> copy_in(std::string_view) override { return std::make_unique<Stream>(*this); }
  bool autocommit() const override { return true; }
  bool in_transaction() const override { return begun; }
  void begin() override { begun = true; }
  void commit() override { begun = false, ++commits; }
  void rollback() override { begun = false, ++rollbacks; }
  bool ping() override { return true; }
  void rollback_to(std::string_view) override {}
  ConnectionWaiter set_waiter(ConnectionWaiter waiter) override { return waiter; }
  bool has_uncommitted_work() const override { return false; }
  void close() noexcept override {}
  int server_version() const override { return 150'000; }

  std::function<void()> on_write;
  bool begun = false;
  int commits = 0;
  int rollbacks = 0;
  int abandoned = 0;
};

// Whole numbers from `from` on in row groups of a piece each; the rows in `nulls` (from 1, in the file) are offenders.
fs::path write_part(const fs::path& directory, const std::string& name, int groups, const std::vector<int64_t>& nulls) {
  const auto schema = arrow::schema({arrow::field("N", arrow::int64())});
  ParquetPartWriter writer(directory, name, schema, {{"N", "", true}}, {});
  for (int64_t group = 0, row = 1; group < groups; ++group) {
    arrow::Int64Builder builder;
    for (int64_t i = 0; i < kGroupRows; ++i, ++row) {
      const bool null = std::find(nulls.begin(), nulls.end(), row) != nulls.end();
      EXPECT_TRUE((null ? builder.AppendNull() : builder.Append(row)).ok());
    }
    writer.write_row_group({arrow::RecordBatch::Make(schema, kGroupRows, {builder.Finish().ValueOrDie()})});
  }
  writer.finish();
  return directory / name;
}

struct Parts : PartSource {
  std::vector<Part> parts;
  std::function<void()> at_end;  // may throw, as a producer does
  size_t given = 0;
  std::optional<Part> next() override {
    if (given < parts.size()) return parts[given++];
    if (at_end) at_end();
    return std::nullopt;
  }
};

class ParallelCopyTest : public testing::Test {
 protected:
  void add_part(const std::string& name, int groups, const std::vector<int64_t>& nulls = {}) {
    parts_.parts.push_back({write_part(directory_.path(), name, groups, nulls), {}});
  }

  // Two connections. With `first_is_late_` whoever has a.parquet waits until the other has failed.
  CopyCount copy() {
    const PartSource::Part first = *parts_.next();
    auto opened = open_part(first, options_);
    PartFeed feed(parts_, options_, first, std::move(opened), /*shared=*/true);
    const FilePlanner planner = [&](const ParquetPartReader& reader, const std::string& file) {
      if (first_is_late_ && file.ends_with("a.parquet")) {
        while (!feed.dropped()) std::this_thread::yield();
        if (then_) then_();
      }
      return plan_of_one_bigint(reader);
    };
    PolicyCounts policies;
    return copy_parts_in_parallel({connections_[0], connections_[1]}, "copy t from stdin",
                                  {.parts = feed, .plan = planner, .policies = policies, .options = options_});
  }

  std::string failure() {
    try {
      copy();
    } catch (const Error& error) {
      return error.what();
    }
    return "no failure";
  }

  TestDirectory directory_;
  LoadOptions options_;
  Parts parts_;
  bool first_is_late_ = false;
  std::function<void()> then_;
  std::shared_ptr<FakeConnection> connections_[2] = {std::make_shared<FakeConnection>(), std::make_shared<FakeConnection>()};
};

TEST_F(ParallelCopyTest, all_rows_are_sent_and_committed_once) {
  add_part("a.parquet", 3);
  add_part("b.parquet", 2);
  const CopyCount count = copy();
  EXPECT_EQ(count.sent, 5 * kGroupRows);
  EXPECT_EQ(count.counted, count.sent);
  for (const auto& connection : connections_) {
    EXPECT_EQ(connection->commits, 1);
    EXPECT_EQ(connection->rollbacks, 0);
  }
}

TEST_F(ParallelCopyTest, the_lowest_row_is_named_whichever_is_found_first) {
  add_part("a.parquet", 1, {60'000, 60'001});
  add_part("b.parquet", 1, {1});
  add_part("c.parquet", 1);
  first_is_late_ = true;
  const std::string told = failure();
  EXPECT_NE(told.find("a.parquet, column n, row 60000:"), std::string::npos) << told;
  EXPECT_EQ(parts_.given, 2u) << "nothing above is begun";
  for (const auto& connection : connections_) {
    EXPECT_EQ(connection->commits, 0);
    EXPECT_EQ(connection->rollbacks, 1);
  }
}

TEST_F(ParallelCopyTest, what_lies_below_an_offender_is_finished_and_not_committed) {
  add_part("a.parquet", 1);
  add_part("b.parquet", 1, {7});
  first_is_late_ = true;
  const std::string told = failure();
  EXPECT_NE(told.find("b.parquet, column n, row 70007:"), std::string::npos) << told;
  for (const auto& connection : connections_) EXPECT_EQ(connection->commits, 0);
}

TEST_F(ParallelCopyTest, what_the_producer_threw_lies_behind_all_rows) {
  add_part("a.parquet", 1, {60'000});
  parts_.at_end = [] { throw ValueError("snowflake.precision_exceeded", "of a row that is no part of the files"); };
  first_is_late_ = true;
  const std::string told = failure();
  EXPECT_NE(told.find("column n, row 60000:"), std::string::npos) << told;
  parts_.parts.clear();
  parts_.given = 0;
  add_part("a.parquet", 1);
  EXPECT_TRUE(failure().starts_with("snowflake.precision_exceeded"));
}

TEST_F(ParallelCopyTest, a_stop_request_ends_it_whatever_was_found) {
  add_part("a.parquet", 1, {60'000});
  add_part("b.parquet", 1, {1});
  std::stop_source stop;
  options_.stop = stop.get_token();
  first_is_late_ = true;
  then_ = [&] { stop.request_stop(); };
  EXPECT_TRUE(failure().starts_with("load.stopped"));
}

TEST_F(ParallelCopyTest, a_refusal_of_the_server_ends_it) {
  add_part("a.parquet", 2);
  connections_[1]->on_write = [] { throw PostgresError("postgres.refused", "no"); };
  EXPECT_TRUE(failure().starts_with("postgres.refused"));
  EXPECT_EQ(connections_[1]->commits, 0);
  EXPECT_EQ(connections_[1]->rollbacks, 1);
}

}  // namespace
}  // namespace snowmelt
