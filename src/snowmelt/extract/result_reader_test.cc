#include "snowmelt/extract/result_reader.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <latch>

#include "snowmelt/error.h"
#include "snowmelt/extract/test_chunk_server.h"

namespace snowmelt {
namespace {

// Urls are not renewed here, and nothing else is asked of a connection.
// One column of one digit; two digits are an offender. The first chunk comes when the second was asked for.
class ResultReaderTest : public testing::Test {
 protected:
  std::shared_ptr<ResultReader> open(const std::vector<std::string>& chunks, int64_t memory_limit = 100'000'000) {
    bodies_ = chunks;
    if (memory_limit < 100'000'000) second_asked_.count_down();
    StatementResult result;
    result.arrow = false;
    SnowflakeColumn digit;
    digit.name = "N";
    digit.type = "fixed";
    digit.precision = 1;
    digit.scale = 0;
    result.row_type = {digit};
    for (size_t i = 0; i < chunks.size(); ++i) {
      ResultChunk chunk;
      chunk.url = server_.url(std::to_string(i));
      chunk.uncompressed_size = static_cast<int64_t>(chunks[i].size());
      chunk.rows = static_cast<int64_t>(std::count(chunks[i].begin(), chunks[i].end(), '['));
      result.chunks.push_back(chunk);
      result.total += chunk.rows;
    }
    ResultReaderOptions options{.rules = {}, .threads = 2, .memory_limit = memory_limit};
    options.rules.integers = IntegerMode::numeric;
    return open_result_reader(source_session(std::shared_ptr<SnowflakeConnection>()), std::move(result), options);
  }

  // What it throws at last, and how many rows came before.
  std::string failure(ResultReader& reader) {
    try {
      while (const auto batch = reader.next()) rows_ += batch->num_rows();
    } catch (const Error& error) {
      return error.what();
    }
    return "no failure";
  }

  int64_t rows_ = 0;
  std::vector<std::string> bodies_;
  std::latch second_asked_{1};
  std::atomic<int> asked_{0};
  TestChunkServer server_{[this](const std::string& path, const std::string&) {
    asked_ = std::max(asked_.load(), std::stoi(path) + 1);
    if (path == "1" && !second_asked_.try_wait()) second_asked_.count_down();
    if (path == "0") second_asked_.wait();
    return TestAnswer{.body = bodies_.at(std::stoul(path))};
  }};
};

TEST_F(ResultReaderTest, the_lowest_offender_is_told_whichever_is_found_first) {
  const auto reader = open({R"(["1"],["10"])", R"(["3"],["4"],["50"])"});
  const std::string told = failure(*reader);
  EXPECT_NE(told.find("column N, row 2:"), std::string::npos) << told;
  EXPECT_EQ(rows_, 0);
  EXPECT_EQ(failure(*reader), told) << "asked again, it says the same";
}

TEST_F(ResultReaderTest, rows_before_the_offenders_chunk_are_read_first) {
  const auto reader = open({R"(["1"],["2"])", R"(["3"],["40"])", R"(["5"])", R"(["60"])"});
  const std::string told = failure(*reader);
  EXPECT_NE(told.find("column N, row 4:"), std::string::npos) << told;
  EXPECT_EQ(rows_, 2);
}

TEST_F(ResultReaderTest, rows_come_in_order) {
  const auto reader = open({R"(["1"],["2"])", R"(["3"])", R"(["4"],["5"],["6"])"});
  std::string text;
  while (const auto batch = reader->next()) text += batch->column(0)->ToString();
  std::erase_if(text, [](char c) { return c < '0' || c > '9'; });
  EXPECT_EQ(text, "123456");
  EXPECT_EQ(reader->next(), nullptr);
}

TEST_F(ResultReaderTest, nothing_is_fetched_ahead_that_the_limit_has_no_room_for) {
  const auto reader = open(std::vector<std::string>(50, R"(["1"])"), 1);
  for (int row = 1; row <= 50; ++row) {
    ASSERT_NE(reader->next(), nullptr);
    EXPECT_LE(asked_, row) << "only what is in hand";
  }
  EXPECT_EQ(reader->next(), nullptr);
}

}  // namespace
}  // namespace snowmelt
