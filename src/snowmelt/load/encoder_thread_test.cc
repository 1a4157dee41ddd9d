#include "snowmelt/load/encoder_thread.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "snowmelt/error.h"
#include "snowmelt/load/test_plan.h"
#include "snowmelt/storage/test_directory.h"

namespace snowmelt {
namespace {

constexpr int64_t kRows = 300'000;  // 4.2 MB of COPY bytes: more than the buffers ahead hold

struct Parts : PartSource {
  std::vector<Part> parts;
  size_t given = 0;
  std::optional<Part> next() override { return given == parts.size() ? std::nullopt : std::optional(parts[given++]); }
};

class EncoderThreadTest : public testing::Test {
 protected:
  // The numbers from 1 on; the row `null` (from 1) has none.
  void write_part(int64_t null = 0) {
    const auto schema = arrow::schema({arrow::field("N", arrow::int64())});
    ParquetPartWriter writer(directory_.path(), "a.parquet", schema, {{"N", "", true}}, {});
    arrow::Int64Builder builder;
    for (int64_t row = 1; row <= kRows; ++row) EXPECT_TRUE((row == null ? builder.AppendNull() : builder.Append(row)).ok());
    writer.write_row_group({arrow::RecordBatch::Make(schema, kRows, {builder.Finish().ValueOrDie()})});
    writer.finish();
    parts_.parts.push_back({directory_.path() / "a.parquet", {}});
    const PartSource::Part first = *parts_.next();
    feed_ = std::make_unique<PartFeed>(parts_, options_, first, open_part(first, options_), /*shared=*/false);
    planner_ = [](const ParquetPartReader& reader, const std::string&) { return plan_of_one_bigint(reader); };
  }
  EncodeJob job() { return {.parts = *feed_, .plan = planner_, .policies = policies_, .options = options_}; }

  TestDirectory directory_;
  LoadOptions options_;
  Parts parts_;
  PolicyCounts policies_;
  FilePlanner planner_;
  std::unique_ptr<PartFeed> feed_;
};

TEST_F(EncoderThreadTest, GivesAllRowsInOrder) {
  write_part();
  EncoderThread encoder(job());
  std::string bytes;
  while (auto buffer = encoder.next()) {
    bytes.append(buffer->bytes().begin(), buffer->bytes().end());
    encoder.recycle(std::move(buffer));
  }
  EXPECT_EQ(encoder.rows(), kRows);
  ASSERT_EQ(bytes.size(), static_cast<size_t>(kRows) * 14);  // one field: its count, its length, eight bytes
  for (int64_t row : {int64_t{1}, kRows / 2, kRows}) {
    int64_t value = 0;
    for (size_t i = 6; i < 14; ++i) value = value << 8 | static_cast<unsigned char>(bytes[static_cast<size_t>(row - 1) * 14 + i]);
    EXPECT_EQ(value, row);
  }
}

TEST_F(EncoderThreadTest, NamesTheItemOfAFailure) {
  write_part(/*null=*/kRows - 1);
  EncoderThread encoder(job());
  try {
    while (auto buffer = encoder.next()) encoder.recycle(std::move(buffer));
    ADD_FAILURE();
  } catch (const ValueError& error) {
    EXPECT_NE(std::string(error.what()).find("row 299999"), std::string::npos) << error.what();
    EXPECT_NE(std::string(error.what()).find("a.parquet"), std::string::npos);
  }
  EXPECT_EQ(encoder.failed_row(), 1) << "the item's first row";
  EXPECT_TRUE(feed_->dropped());
}

TEST_F(EncoderThreadTest, EndsThoughNobodyTakesItsBuffers) {
  write_part();
  EncoderThread encoder(job());
  EXPECT_NE(encoder.next(), nullptr);
}  // the destructor: the thread waits for room

TEST_F(EncoderThreadTest, AStopRequestEndsIt) {
  std::stop_source stop;
  options_.stop = stop.get_token();
  stop.request_stop();
  write_part();
  EncoderThread encoder(job());
  EXPECT_THROW(
      {
        while (auto buffer = encoder.next()) encoder.recycle(std::move(buffer));
      },
      Interrupted);
}

}  // namespace
}  // namespace snowmelt
