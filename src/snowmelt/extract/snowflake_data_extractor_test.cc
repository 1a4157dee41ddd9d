#include "snowmelt/extract/snowflake_data_extractor.h"

#include <arrow/io/memory.h>
#include <arrow/ipc/writer.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <latch>
#include <set>

#include "snowmelt/connections/snowflake_connection.h"
#include "snowmelt/error.h"
#include "snowmelt/extract/row_reader.h"
#include "snowmelt/extract/test_chunk_server.h"
#include "snowmelt/extract/wire_arrays.h"
#include "snowmelt/log.h"
#include "snowmelt/storage/parquet_file.h"
#include "snowmelt/storage/test_directory.h"

namespace snowmelt {
namespace {

namespace fs = std::filesystem;
using Strings = std::vector<std::string>;

// Answers every SELECT with `answer`, and a request for it by its id with `refreshed`.
class FakeDriver : public SnowflakeDriver {
 public:
  Session open(const SnowflakeConfig&, const LoginOptions&) override {
    Session session;
    session.handle = ++opens;
    return session;
  }
  StatementResult execute(int64_t, const Statement& statement) override {
    if (statement.sql.starts_with("describe table ") || statement.sql.starts_with("select COMMENT "))
      throw QueryError("snowflake.query", "Insufficient privileges");  // from a thread of its own, beside the download
    if (statement.describe_only) {
      StatementResult described;
      described.statement_type_id = described_type;
      return described;
    }
    statements.push_back(statement.sql);
    lose_once(lost_at_execute);
    if (statement.sql.find("INFORMATION_SCHEMA") != std::string::npos) {
      if (!size_answer) throw QueryError("snowflake.query", "Insufficient privileges");
      return *size_answer;
    }
    return answer;
  }
  StatementResult result(int64_t, const std::string& query_id, std::stop_token) override {
    EXPECT_EQ(query_id, answer.query_id);
    lose_once(lost_at_result);
    ++refreshes;
    if (before_refresh) before_refresh();
    return refreshed;
  }
  void ping(int64_t, std::stop_token) override {}
  void close(int64_t) noexcept override {}

  static void lose_once(int& times) {
    if (times > 0) {
      --times;
      throw ConnectionError("snowflake.connection_lost", "the session is gone", {.connection_lost = true});
    }
  }

  int opens = 0;
  int lost_at_execute = 0, lost_at_result = 0;
  StatementResult answer;
  StatementResult refreshed;
  std::optional<StatementResult> size_answer;
  int64_t described_type = 0x1000;  // what a describe-only request answers
  std::vector<std::string> statements;
  std::atomic<int> refreshes{0};
  std::function<void()> before_refresh;
};

// Rows [first, first + count) of the table N = row number, T = "row <n>", in batches of 10; N as int8 while it fits.
std::string arrow_stream(int64_t first, int64_t count) {
  const bool narrow = first + count <= 127;
  const auto schema =
      arrow::schema({arrow::field("N", narrow ? arrow::int8() : arrow::int32()), arrow::field("T", arrow::utf8())});
  auto sink = take(arrow::io::BufferOutputStream::Create());
  auto writer = take(arrow::ipc::MakeStreamWriter(sink, schema));
  for (int64_t start = first; start < first + count; start += 10) {
    std::unique_ptr<arrow::ArrayBuilder> numbers;
    take(arrow::MakeBuilder(arrow::default_memory_pool(), schema->field(0)->type(), &numbers));
    arrow::StringBuilder text;
    const int64_t end = std::min(start + 10, first + count);
    for (int64_t i = start; i < end; ++i) {
      take(numbers->AppendScalar(**arrow::MakeScalar(schema->field(0)->type(), i)));
      take(i % 7 == 0 ? text.AppendNull() : text.Append("row " + std::to_string(i)));
    }
    take(
        writer->WriteRecordBatch(*arrow::RecordBatch::Make(schema, end - start, {take(numbers->Finish()), take(text.Finish())})));
  }
  take(writer->Close());
  return take(sink->Finish())->ToString();
}

std::vector<SnowflakeColumn> row_type() {
  SnowflakeColumn number;
  number.name = "N";
  number.type = "fixed";
  number.precision = 38;
  number.scale = 0;
  SnowflakeColumn text;
  text.name = "T";
  text.type = "text";
  return {number, text};
}

SnowflakeConfig test_config() {
  SnowflakeConfig config;
  config.account = "test";
  config.host = "127.0.0.1";
  config.protocol = "http";  // as the chunks of these tests
  config.user = "test";
  config.password = Secret("test");
  return config;
}

class ExtractorTest : public testing::Test {
 protected:
  // `inline_rows` first, then chunks of these sizes at <server>/<index>?<generation>.
  StatementResult make_result(int64_t inline_rows, const std::vector<int64_t>& chunks, const std::string& generation = "0") {
    StatementResult result;
    result.query_id = "01b2";
    result.row_type = row_type();
    result.total = inline_rows;
    if (inline_rows > 0) result.first_batch = arrow_stream(0, inline_rows);
    for (size_t i = 0; i < chunks.size(); ++i) {
      ResultChunk chunk;
      chunk.url = server.url(std::to_string(i) + "?" + generation);
      chunk.rows = chunks[i];
      const std::string stream = arrow_stream(result.total, chunks[i]);
      chunk.uncompressed_size = static_cast<int64_t>(stream.size());  // else each would lease what an unknown size may be
      result.chunks.push_back(chunk);
      add_body(gzip(stream));
      result.total += chunks[i];
    }
    return result;
  }

  void serve(int64_t inline_rows, const std::vector<int64_t>& chunks) { driver->answer = make_result(inline_rows, chunks); }

  Extraction extract(ExtractOptions options = {}, TableConfig table = {}) {
    options.directory = directory.path();
    if (options.threads == 0) options.threads = 2;
    if (table.query.empty()) table.source = "db.public.t";
    return SnowflakeDataExtractor(manager).extract_table_chunks(table, options);
  }

  // The code of what stops an extraction.
  std::string failure(const ExtractOptions& options = {}, const TableConfig& table = {}) {
    try {
      extract(options, table).finish();
    } catch (const Error& error) {
      last_error = error.what();
      return error.code();
    }
    return "no failure";
  }

  fs::path table_directory() const { return directory.path() / "DB.PUBLIC.T"; }
  Strings files() const {
    Strings names = file_names(table_directory());
    std::erase(names, ".lock");
    return names;
  }

  // All rows in the parts, as "n:text".
  std::multiset<std::string> rows_read(const std::optional<FilePassword>& password = std::nullopt) const {
    std::multiset<std::string> rows;
    const Manifest manifest = read_manifest(table_directory(), password);
    for (const PartInfo& part : manifest.parts) {
      verify_part(table_directory(), part);
      ParquetPartReader reader(table_directory() / part.file, password, manifest.salt);
      int64_t count = 0;
      while (const auto batch = reader.next()) {
        const auto& numbers = static_cast<const arrow::Int64Array&>(*batch->column(0));
        const auto& texts = static_cast<const arrow::StringArray&>(*batch->column(1));
        for (int64_t i = 0; i < batch->num_rows(); ++i)
          rows.insert(std::to_string(numbers.Value(i)) + ":" + (texts.IsNull(i) ? "" : texts.GetString(i)));
        count += batch->num_rows();
      }
      EXPECT_EQ(count, part.rows);
    }
    return rows;
  }
  static std::multiset<std::string> rows_expected(int64_t count) {
    std::multiset<std::string> rows;
    for (int64_t i = 0; i < count; ++i) rows.insert(std::to_string(i) + ":" + (i % 7 == 0 ? "" : "row " + std::to_string(i)));
    return rows;
  }

  void add_body(std::string body) {
    const std::lock_guard lock(bodies_mutex);
    bodies.push_back(std::move(body));
  }
  void clear_bodies() {
    const std::lock_guard lock(bodies_mutex);
    bodies.clear();
  }

  TestDirectory directory;
  std::mutex bodies_mutex;
  std::vector<std::string> bodies;
  std::function<TestAnswer(const std::string& path)> override_answer;
  TestChunkServer server{[this](const std::string& path, const std::string&) {
    if (override_answer) {
      if (const TestAnswer answer = override_answer(path); answer.status != 0) return answer;
    }
    // A transfer that was given up may still be served when the next case has begun.
    const std::lock_guard lock(bodies_mutex);
    const size_t index = std::stoul(path);
    return index < bodies.size() ? TestAnswer{.body = bodies[index]} : TestAnswer{.status = 404};
  }};
  std::shared_ptr<FakeDriver> driver = std::make_shared<FakeDriver>();
  std::shared_ptr<SnowflakeConnectionManager> manager = std::make_shared<SnowflakeConnectionManager>(test_config(), driver);
  std::string last_error;
};

constexpr TestAnswer kAsUsual{.status = 0};

TEST_F(ExtractorTest, inline_rows_and_chunks_of_differing_widths_arrive_whole) {
  serve(25, {40, 0, 100, 1'000});
  const auto progress = std::make_shared<TableProgress>();
  ExtractOptions options;
  options.progress = progress;
  Extraction extraction = extract(options);
  std::set<std::string> parts;
  while (const auto part = extraction.next()) parts.insert(part->file);
  const Manifest& manifest = extraction.finish();
  EXPECT_EQ(extraction.next(), std::nullopt) << "the end stays the end";
  EXPECT_EQ(manifest.rows, 1'165);
  EXPECT_EQ(manifest.parts.size(), parts.size());
  EXPECT_EQ(manifest.statement, "select * from db.public.t");
  EXPECT_EQ(manifest.source, "db.public.t");
  EXPECT_EQ(manifest.query_id, "01b2");
  ASSERT_EQ(manifest.columns.size(), 2U);
  EXPECT_EQ(manifest.columns[0].source_type.text(), "NUMBER(38,0)");
  EXPECT_EQ(extraction.directory(), table_directory());
  EXPECT_EQ(rows_read(), rows_expected(1'165));
  EXPECT_EQ(progress->rows_total, 1'165);
  EXPECT_EQ(progress->rows_exported, 1'165);
  EXPECT_EQ(progress->bytes_exported, manifest.bytes);
  EXPECT_EQ(driver->refreshes, 0);
}

TEST_F(ExtractorTest, a_result_without_rows_still_has_a_part_with_the_schema) {
  for (const bool with_stream : {false, true}) {
    serve(0, {});
    if (with_stream) driver->answer.first_batch = arrow_stream(0, 0);
    const Manifest manifest = extract().finish();
    EXPECT_EQ(manifest.rows, 0);
    ASSERT_EQ(manifest.parts.size(), 1U);
    ParquetPartReader reader(table_directory() / manifest.parts[0].file, std::nullopt, "");
    EXPECT_EQ(reader.schema()->num_fields(), 2);
    EXPECT_EQ(reader.source_columns()[1].source_type.text(), "TEXT");
  }
}

TEST_F(ExtractorTest, parts_are_closed_at_two_chunks_or_at_the_size) {
  serve(0, std::vector<int64_t>(20, 30));
  ExtractOptions options;
  options.threads = 1;
  EXPECT_EQ(extract(options).finish().parts.size(), 10U);
  options.part_size = 1;
  EXPECT_EQ(extract(options).finish().parts.size(), 20U);
  EXPECT_EQ(rows_read(), rows_expected(600));
  EXPECT_EQ(files().size(), 21U) << "the manifest and its parts; those of the export before are gone";
}

TEST_F(ExtractorTest, a_short_chunk_is_an_error_and_never_a_shorter_table) {
  serve(5, {100});
  extract().finish();
  const Strings before = files();

  clear_bodies();
  serve(5, {100, 100, 100});
  std::atomic<int> asked{0};
  bodies[1] = gzip(arrow_stream(105, 90));  // ends cleanly, one batch early
  override_answer = [&](const std::string& path) {
    asked += path.starts_with("1?") ? 1 : 0;
    return kAsUsual;
  };
  EXPECT_EQ(failure(), "snowflake.short_chunk");
  EXPECT_NE(last_error.find("DB.PUBLIC.T: chunk 2 of 3 has 90 rows, the server's own count is 100"), std::string::npos)
      << last_error;
  EXPECT_EQ(asked, 2) << "once more, then no longer";
  EXPECT_EQ(files(), before) << "the export before is untouched";
  EXPECT_EQ(read_manifest(table_directory()).rows, 105);
}

TEST_F(ExtractorTest, a_chunk_that_is_short_once_is_fetched_again) {
  serve(0, {50, 50});
  std::atomic<int> asked{0};
  override_answer = [&](const std::string& path) {
    if (!path.starts_with("1?") || asked++ > 0) return kAsUsual;
    return TestAnswer{.body = gzip(arrow_stream(50, 20))};
  };
  EXPECT_EQ(extract().finish().rows, 100);
  EXPECT_EQ(rows_read(), rows_expected(100));
}

TEST_F(ExtractorTest, rows_too_many_or_a_total_too_small_are_errors_too) {
  serve(0, {50, 50});
  bodies[0] = gzip(arrow_stream(0, 51));
  EXPECT_EQ(failure(), "snowflake.short_chunk");
  clear_bodies();
  serve(10, {50});
  driver->answer.total = 59;
  driver->refreshed = driver->answer;
  EXPECT_EQ(failure(), "snowflake.short_chunk") << "the inline batch has ten rows, nine are left for it";
  EXPECT_TRUE(files().empty());
}

TEST_F(ExtractorTest, expired_urls_are_refreshed_once_for_all_threads) {
  serve(10, std::vector<int64_t>(6, 20));
  clear_bodies();
  driver->refreshed = make_result(10, std::vector<int64_t>(6, 20), "1");
  const auto refused = std::make_shared<std::latch>(6);  // all threads have to ask
  driver->before_refresh = [=] { refused->wait(); };
  override_answer = [=](const std::string& path) {
    if (!path.ends_with("?0")) return kAsUsual;
    refused->count_down();
    return TestAnswer{.status = 403};
  };
  ExtractOptions options;
  options.downloads = 6;
  EXPECT_EQ(extract(options).finish().rows, 130);
  EXPECT_EQ(driver->refreshes, 1);
  EXPECT_EQ(rows_read(), rows_expected(130));
}

TEST_F(ExtractorTest, a_lost_session_is_replaced_once) {
  serve(10, {20, 20});
  driver->lost_at_execute = 1;
  EXPECT_EQ(extract().finish().rows, 50);
  EXPECT_EQ(driver->opens, 2);
  driver->lost_at_execute = 2;
  EXPECT_EQ(failure(), "snowflake.connection_lost");
}

TEST_F(ExtractorTest, urls_are_refreshed_by_another_session_when_the_first_is_lost) {
  serve(10, std::vector<int64_t>(6, 20));
  clear_bodies();
  driver->refreshed = make_result(10, std::vector<int64_t>(6, 20), "1");
  driver->lost_at_result = 1;
  override_answer = [](const std::string& path) { return path.ends_with("?0") ? TestAnswer{.status = 403} : kAsUsual; };
  ExtractOptions options;
  options.threads = 4;
  EXPECT_EQ(extract(options).finish().rows, 130);
  EXPECT_EQ(driver->opens, 2);
  EXPECT_EQ(rows_read(), rows_expected(130));
  driver->lost_at_result = 2;
  EXPECT_EQ(failure(options), "snowflake.connection_lost");
}

TEST_F(ExtractorTest, a_result_that_changed_is_not_mixed_with_the_old_one) {
  serve(10, {20, 20});
  override_answer = [](const std::string& path) { return path.ends_with("?0") ? TestAnswer{.status = 403} : kAsUsual; };
  driver->refreshed = make_result(10, {20, 21}, "1");
  EXPECT_EQ(failure(), "snowflake.result_changed");
  EXPECT_TRUE(files().empty());
  driver->refreshed = driver->answer;  // fresh, and refused again
  EXPECT_EQ(failure(), "chunk.url_expired");
}

TEST_F(ExtractorTest, a_value_that_cannot_be_kept_is_named_by_table_column_and_row) {
  serve(10, {20, 20});
  driver->answer.row_type[0].precision = 1;  // rows 10 and on have two digits
  driver->answer.row_type[0].scale = 0;
  TableConfig table;
  table.rules.integers = IntegerMode::numeric;
  ExtractOptions options;
  options.threads = 1;
  options.downloads = 1;  // the first chunk first
  EXPECT_EQ(failure(options, table), "snowflake.precision_exceeded");
  EXPECT_NE(last_error.find("DB.PUBLIC.T, column N, row 11"), std::string::npos) << last_error;
  EXPECT_TRUE(files().empty());
}

// Outlives the test in the server's threads.
using Event = std::shared_ptr<std::latch>;
Event event() { return std::make_shared<std::latch>(1); }

// Rows from 10 on cannot be kept. The test gives the order in which chunks arrive; `failed` waits until the thread that has the
// budget's second lease has ended with its error.
class TwoOffenders : public ExtractorTest {
 protected:
  void serve_digits(int64_t inline_rows, const std::vector<int64_t>& chunks) {
    serve(inline_rows, chunks);
    driver->answer.row_type[0].precision = 1;
    table.rules.integers = IntegerMode::numeric;
    options.threads = 2;
    options.downloads = 2;
    options.budget = make_work_budget(2, 2, 0);
  }
  void failed() { options.budget->acquire(1, {}); }

  TableConfig table;
  ExtractOptions options;
};

TEST_F(TwoOffenders, the_lowest_row_is_named_whichever_is_found_first) {
  serve_digits(0, {11, 20, 20, 20});
  bodies[1] = gzip(arrow_stream(0, 8));  // nothing is wrong with these
  driver->answer.chunks[1].rows = 8;
  driver->answer.total -= 12;
  const Event second_asked = event();
  override_answer = [=, this](const std::string& path) {
    if (path.starts_with("2?")) second_asked->count_down();
    if (path.starts_with("0?")) {
      second_asked->wait();
      failed();
    }
    return kAsUsual;
  };
  EXPECT_EQ(failure(options, table), "snowflake.precision_exceeded");
  EXPECT_NE(last_error.find("column N, row 11:"), std::string::npos) << last_error;
  EXPECT_EQ(server.requests(), 3) << "chunks above the offender are not begun";
  EXPECT_TRUE(files().empty());
}

TEST_F(TwoOffenders, a_chunk_above_that_is_on_its_way_is_given_up) {
  serve_digits(0, {11, 20});
  const Event above_asked = event(), over = event();
  override_answer = [=, this](const std::string& path) {
    if (path.starts_with("1?")) {
      above_asked->count_down();
      over->wait();
    } else {
      above_asked->wait();
    }
    return kAsUsual;
  };
  EXPECT_EQ(failure(options, table), "snowflake.precision_exceeded") << "and does not wait for the second chunk";
  EXPECT_NE(last_error.find("column N, row 11:"), std::string::npos) << last_error;
  over->count_down();
}

TEST_F(TwoOffenders, what_else_goes_wrong_below_ends_it_and_is_told) {
  serve_digits(0, {9, 20, 20});
  bodies[0] = gzip(arrow_stream(0, 8));
  const Event above_asked = event();
  override_answer = [=, this](const std::string& path) {
    if (path.starts_with("1?")) above_asked->count_down();
    if (path.starts_with("0?")) {
      above_asked->wait();
      failed();
    }
    return kAsUsual;
  };
  EXPECT_EQ(failure(options, table), "snowflake.short_chunk");
  EXPECT_EQ(server.requests(), 3) << "the first twice, the second once";
  EXPECT_TRUE(files().empty());
}

TEST_F(TwoOffenders, a_stop_request_does_not_wait_for_the_chunks_below) {
  serve_digits(0, {9, 20});
  const Event above_asked = event(), over = event();
  std::stop_source stop;
  options.stop = stop.get_token();
  override_answer = [=, this](const std::string& path) {
    if (path.starts_with("1?")) above_asked->count_down();
    if (path.starts_with("0?")) {
      above_asked->wait();
      failed();
      std::stop_source(stop).request_stop();
      over->wait();
    }
    return kAsUsual;
  };
  EXPECT_EQ(failure(options, table), "extract.stopped");
  EXPECT_TRUE(files().empty());
  over->count_down();
}

TEST_F(ExtractorTest, an_unknown_type_stops_before_anything_is_fetched) {
  serve(0, {20});
  driver->answer.row_type[1].type = "hologram";
  EXPECT_EQ(failure(), "snowflake.unknown_type");
  EXPECT_EQ(server.requests(), 0);
  EXPECT_TRUE(files().empty());
}

TEST_F(ExtractorTest, a_stop_request_ends_it_and_leaves_nothing) {
  serve(10, std::vector<int64_t>(20, 20));
  override_answer = [](const std::string& path) {
    return std::stoi(path) > 10 ? TestAnswer{.body = "late", .delay_ms = 3'600'000} : kAsUsual;
  };
  std::stop_source stop;
  ExtractOptions options;
  options.stop = stop.get_token();
  options.part_size = 1;
  Extraction extraction = extract(options);
  ASSERT_TRUE(extraction.next());
  stop.request_stop();
  EXPECT_THROW(while (extraction.next()){}, Interrupted);
  EXPECT_THROW(extraction.next(), Interrupted) << "asked again, it says the same";
  EXPECT_TRUE(files().empty());
}

TEST_F(ExtractorTest, destroyed_early_it_leaves_nothing) {
  serve(10, std::vector<int64_t>(20, 20));
  ExtractOptions options;
  options.part_size = 1;
  {
    Extraction extraction = extract(options);
    ASSERT_TRUE(extraction.next());
  }
  EXPECT_TRUE(files().empty());
}

TEST_F(ExtractorTest, two_runs_do_not_share_a_directory) {
  serve(0, {20});
  {
    Extraction first = extract();
    EXPECT_EQ(failure(), "export.locked");
    first.finish();
    EXPECT_EQ(failure(), "no failure") << "a published export needs no lock any more";
  }
}

TEST_F(ExtractorTest, what_a_killed_run_left_is_removed) {
  serve(0, {20});
  fs::create_directories(table_directory());
  write_file(table_directory() / "part-20250101T000000-00000000-00000.parquet.tmp", "x");
  write_file(table_directory() / "part-20250101T000000-00000000-00001.parquet", "x");
  extract().finish();
  EXPECT_EQ(files().size(), 2U);
}

TEST_F(ExtractorTest, a_password_encrypts_the_parts_and_empties_the_manifest) {
  serve(5, {50});
  ExtractOptions options;
  options.password = Secret("pw");
  const Manifest manifest = extract(options).finish();
  EXPECT_TRUE(manifest.encrypted);
  EXPECT_TRUE(manifest.columns.empty());
  EXPECT_EQ(manifest.salt.size(), 32U);
  EXPECT_EQ(rows_read(Secret("pw")), rows_expected(55));
  EXPECT_THROW(rows_read(), FileError);
}

TEST_F(ExtractorTest, a_query_goes_out_as_it_is_and_a_source_only_as_a_name) {
  serve(5, {});
  TableConfig table;
  table.query = "select 1 as n -- mine";
  table.name = "my/query";
  Extraction extraction = extract({}, table);
  EXPECT_EQ(extraction.finish().source, "my/query");
  EXPECT_EQ(extraction.directory().filename(), "my%2Fquery");
  EXPECT_EQ(driver->statements.back(), "select 1 as n -- mine");
  SnowflakeDataExtractor extractor(manager);
  EXPECT_THROW(extractor.extract_table_chunks("t; drop table u", {}), ConfigurationError);
  EXPECT_EQ(driver->statements.size(), 1U);
}

TEST_F(ExtractorTest, a_query_that_is_not_known_to_only_read_is_not_run) {
  TableConfig table;
  table.query = "insert into t values (1)";
  table.name = "q";
  for (const int64_t type : {0x0, 0x3100, 0x4000, 0x4702, 0x5000, 0x6000, 0xA000, 0x7101}) {
    driver->described_type = type;
    try {
      extract({}, table);
      ADD_FAILURE() << type;
    } catch (const ConfigurationError& error) {
      EXPECT_EQ(error.where(), "q");
      EXPECT_NE(error.message().find(fmt::format("statement type 0x{:04x}", type)), std::string::npos) << error.what();
    }
  }
  driver->described_type = 0x1000;
  for (const char* code : {"call p()", " -- a\n /* b */ Call p()", "execute immediate 'x'", "begin delete from t; end"}) {
    table.query = code;
    EXPECT_THROW(extract({}, table), ConfigurationError) << code;
  }
  EXPECT_TRUE(driver->statements.empty());
}

TEST_F(ExtractorTest, json_results_end_in_the_same_files) {
  driver->answer.query_id = "01b2";
  driver->answer.arrow = false;
  driver->answer.row_type = row_type();
  driver->answer.rows = {{"0", std::nullopt}, {"1", "row 1"}};
  driver->answer.total = 5;
  ResultChunk chunk;
  chunk.url = server.url("0?0");
  chunk.rows = 3;
  driver->answer.chunks = {chunk};
  bodies = {gzip(R"(["2","row 2"],["3","row 3"],["4","row 4"])")};
  EXPECT_EQ(extract().finish().rows, 5);
  EXPECT_EQ(rows_read(), rows_expected(5));
}

TEST_F(ExtractorTest, a_directory_that_cannot_be_made_is_named) {
  serve(5, {});
  write_file(directory.path() / "DB.PUBLIC.T", "a file");
  EXPECT_EQ(failure(), "file.io");
  EXPECT_NE(last_error.find("DB.PUBLIC.T"), std::string::npos) << last_error;
  EXPECT_TRUE(driver->statements.empty()) << "before the statement runs";
}

TEST_F(ExtractorTest, sizes_come_from_metadata_or_are_unknown) {
  SnowflakeDataExtractor extractor(manager);
  driver->size_answer = StatementResult{};
  driver->size_answer->arrow = false;
  driver->size_answer->rows = {{"6001215", std::nullopt}};
  driver->size_answer->total = 1;
  TableSize size = extractor.estimate_table_size("db.\"it's\".\"T x\"");
  EXPECT_EQ(size.rows, 6'001'215);
  EXPECT_EQ(size.bytes, std::nullopt);
  EXPECT_EQ(driver->statements.back(),
            "select ROW_COUNT, BYTES from DB.INFORMATION_SCHEMA.TABLES where TABLE_SCHEMA = 'it''s' and TABLE_NAME = 'T x'");
  driver->size_answer->rows.clear();
  EXPECT_EQ(extractor.estimate_table_size("t").rows, std::nullopt);
  EXPECT_EQ(driver->statements.back(),
            "select ROW_COUNT, BYTES from INFORMATION_SCHEMA.TABLES where TABLE_SCHEMA = current_schema() and TABLE_NAME = 'T'");
  driver->size_answer.reset();
  Strings warnings;
  set_log_sink([&](LogLevel, std::string_view text) { warnings.emplace_back(text); });
  EXPECT_EQ(extractor.estimate_table_size("t").rows, std::nullopt);
  set_log_sink({});
  EXPECT_EQ(warnings, Strings{"the size of t is not known: Insufficient privileges"});
}

TEST_F(ExtractorTest, cursors_read_the_same_result_as_text) {
  manager->set_row_reader(arrow_row_reader());
  serve(25, {40, 100});
  const auto cursor = manager->get_connection()->cursor();
  cursor->execute("select * from t");
  std::multiset<std::string> rows;
  for (const Row& row : cursor->fetchall()) rows.insert(*row.at(0) + ":" + row.at(1).value_or(""));
  EXPECT_EQ(rows, rows_expected(165));
}

// A connection that only knows execute, description and fetching, as mocks do.
class MockCursor : public Cursor {
 public:
  void execute(std::string_view sql, const std::vector<Value>&) override { EXPECT_EQ(sql, "select * from t"); }
  const std::vector<ColumnDescription>& description() const override { return description_; }
  int64_t rowcount() const override { return -1; }
  std::optional<Row> fetchone() override {
    if (row_ == 20'000) return std::nullopt;
    ++row_;
    return Row{std::to_string(row_), std::to_string(row_) + ".25", "2024-02-29"};
  }
  void close() override {}

 private:
  std::vector<ColumnDescription> description_{
      {"ID", "fixed", 38, 0, {}, true}, {"PRICE", "fixed", 12, 2, {}, true}, {"DAY", "datetime.date", {}, {}, {}, true}};
  int64_t row_ = 0;
};
class MockConnection : public Connection {
 public:
  std::unique_ptr<Cursor> cursor() override { return std::make_unique<MockCursor>(); }
  bool is_open() const override { return true; }
};
class MockManager : public ConnectionManager {
 public:
  std::shared_ptr<Connection> get_connection() override { return std::make_shared<MockConnection>(); }
  void close() override {}
};

TEST_F(ExtractorTest, a_mock_manager_is_enough) {
  const auto mock = std::make_shared<MockManager>();
  ExtractOptions options;
  options.directory = directory.path();
  Extraction extraction = SnowflakeDataExtractor(mock).extract_table_chunks("t", options);
  const Manifest& manifest = extraction.finish();
  EXPECT_EQ(manifest.rows, 20'000);
  ASSERT_EQ(manifest.parts.size(), 1U);
  ParquetPartReader reader(extraction.directory() / manifest.parts[0].file, std::nullopt, "");
  EXPECT_EQ(reader.schema()->field(0)->type()->ToString(), "int64");
  EXPECT_EQ(reader.schema()->field(1)->type()->ToString(), "decimal64(12, 2)");
  EXPECT_EQ(reader.schema()->field(2)->type()->ToString(), "string");
}

TEST(Extractor, without_a_manager_warns_once) {
  std::vector<std::string> warnings;
  set_log_sink([&](LogLevel level, std::string_view text) {
    if (level == LogLevel::warning) warnings.emplace_back(text);
  });
  try {
    SnowflakeDataExtractor extractor;
  } catch (const Error&) {  // there may be no configuration where the test runs
  }
  set_log_sink({});
  ASSERT_FALSE(warnings.empty());
  EXPECT_EQ(warnings[0],
            "No connection manager provided - creating new one. \nConsider passing a connection manager for better performance.");
}

}  // namespace
}  // namespace snowmelt
