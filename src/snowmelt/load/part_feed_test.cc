#include "snowmelt/load/part_feed.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "snowmelt/storage/test_directory.h"

namespace snowmelt {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kGroupRows = 50'000;

// Row groups of the numbers from `from` on, without a gap.
fs::path write_part(const fs::path& directory, const std::string& name, int64_t from, int groups) {
  const auto schema = arrow::schema({arrow::field("N", arrow::int64())});
  ParquetPartWriter writer(directory, name, schema, {{"N", "", true}}, {});
  for (int group = 0; group < groups; ++group) {
    arrow::Int64Builder builder;
    for (int64_t i = 0; i < kGroupRows; ++i) EXPECT_TRUE(builder.Append(from + group * kGroupRows + i).ok());
    writer.write_row_group({arrow::RecordBatch::Make(schema, kGroupRows, {builder.Finish().ValueOrDie()})});
  }
  writer.finish();
  return directory / name;
}

struct Parts : PartSource {
  std::vector<Part> parts;
  size_t given = 0;
  std::optional<Part> next() override { return given == parts.size() ? std::nullopt : std::optional(parts[given++]); }
};

struct Piece {
  int64_t first_row, first, rows;
};

class PartFeedTest : public ::testing::Test {
 protected:
  std::vector<Piece> pieces(bool shared, const LoadOptions& options = {}) {
    const PartSource::Part first = *parts_.next();
    PartFeed feed(parts_, options, first, open_part(first, options), shared);
    std::vector<Piece> found;
    while (const auto item = feed.next()) {
      Piece piece{item->first_row, -1, 0};
      while (const auto batch = item->reader->next()) {
        if (piece.rows == 0) piece.first = static_cast<const arrow::Int64Array&>(*batch->column(0)).Value(0);
        piece.rows += batch->num_rows();
      }
      found.push_back(piece);
    }
    return found;
  }

  TestDirectory directory_;
  Parts parts_;
};

TEST_F(PartFeedTest, SharedFilesAreCutAtRowGroupsAndRowsNumberedThroughAll) {
  parts_.parts = {{write_part(directory_.path(), "a.parquet", 1, 5), {}},
                  {write_part(directory_.path(), "b.parquet", 5 * kGroupRows + 1, 2), {}}};
  const auto found = pieces(true);
  ASSERT_EQ(found.size(), 4u);  // of two groups each, and what is left of the first file
  int64_t next = 1;
  for (const Piece& piece : found) {
    EXPECT_EQ(piece.first_row, next);
    EXPECT_EQ(piece.first, next) << "the row that its number says";
    next += piece.rows;
  }
  EXPECT_EQ(next, 7 * kGroupRows + 1);
}

TEST_F(PartFeedTest, OneTakerGetsWholeFiles) {
  parts_.parts = {{write_part(directory_.path(), "a.parquet", 1, 3), {}}, {write_part(directory_.path(), "b.parquet", 1, 1), {}}};
  const auto found = pieces(false);
  ASSERT_EQ(found.size(), 2u);
  EXPECT_EQ(found[0].rows, 3 * kGroupRows);
  EXPECT_EQ(found[1].first_row, 3 * kGroupRows + 1);
}

TEST_F(PartFeedTest, AFileWithoutRowsIsGivenOutForItsColumns) {
  parts_.parts = {{write_part(directory_.path(), "a.parquet", 1, 0), {}}, {write_part(directory_.path(), "b.parquet", 1, 1), {}}};
  const auto found = pieces(true);
  ASSERT_EQ(found.size(), 2u);
  EXPECT_EQ(found[0].rows, 0);
  EXPECT_EQ(found[1].first_row, 1);
}

// A part that never comes.
struct WaitingParts : Parts {
  std::mutex mutex;
  std::condition_variable changed;
  bool waiting = false, unwanted = false;
  std::optional<Part> next() override {
    if (given < parts.size()) return parts[given++];
    std::unique_lock lock(mutex);
    waiting = true;
    changed.notify_all();
    changed.wait(lock, [&] { return unwanted; });
    return std::nullopt;
  }
  void stop_waiting() noexcept override {
    const std::lock_guard lock(mutex);
    unwanted = true;
    changed.notify_all();
  }
};

TEST_F(PartFeedTest, AFailureElsewhereEndsTheWaitForTheNextPart) {
  WaitingParts parts;
  parts.parts.push_back({write_part(directory_.path(), "a.parquet", 0, 1), {}});
  const LoadOptions options;
  const PartSource::Part first = *parts.next();
  PartFeed feed(parts, options, first, open_part(first, options), /*shared=*/true);
  ASSERT_TRUE(feed.next().has_value());
  std::jthread failing([&] {
    std::unique_lock lock(parts.mutex);
    parts.changed.wait(lock, [&] { return parts.waiting; });
    lock.unlock();
    feed.drop_from(PartFeed::kEverything);
  });
  EXPECT_FALSE(feed.next().has_value()) << "before the next part has come";
  EXPECT_FALSE(feed.next().has_value());
}

}  // namespace
}  // namespace snowmelt
