#include "snowmelt/extract/chunk_formats.h"

#include <arrow/io/memory.h>
#include <arrow/ipc/writer.h>
#include <arrow/util/compression.h>
#include <gtest/gtest.h>

#include <cstring>
#include <limits>

#include "snowmelt/extract/test_chunk_server.h"
#include "snowmelt/extract/wire_arrays.h"

namespace snowmelt {
namespace {

std::string text_of(const std::shared_ptr<arrow::Buffer>& buffer) { return buffer->ToString(); }

TEST(Inflate, gzip_of_one_or_more_members_and_plain_text) {
  std::string large;
  for (int64_t i = 0; i < 100'000; ++i) large += std::to_string(i * i) + ",";
  for (const int64_t hint : {int64_t{0}, int64_t{1}, static_cast<int64_t>(large.size()), int64_t{1} << 40}) {
    EXPECT_EQ(text_of(inflate(gzip(large), hint)), large) << hint;
    // The last member's size says nothing about the whole.
    EXPECT_EQ(text_of(inflate(gzip(large) + gzip("x"), hint)), large + "x") << hint;
    EXPECT_EQ(text_of(inflate(gzip("x") + gzip("") + gzip(large), hint)), "x" + large) << hint;
  }
  EXPECT_EQ(text_of(inflate(gzip(""), 0)), "");
  EXPECT_EQ(text_of(inflate("plain", 100)), "plain");
  EXPECT_EQ(text_of(inflate("", 0)), "");
}

TEST(Inflate, more_than_twice_what_was_announced_is_refused) {
  const std::string megabytes(9 << 20, 'x');
  EXPECT_THROW(inflate(gzip(megabytes), 1'000), ChunkDamaged);
  EXPECT_THROW(inflate(gzip("x") + gzip(megabytes), 1'000), ChunkDamaged);
  EXPECT_THROW(inflate(megabytes, 1'000), ChunkDamaged);
  EXPECT_EQ(inflate(gzip(megabytes), 1 << 20)->size(), 9 << 20) << "a server's number may be wrong by half";
  EXPECT_EQ(inflate(gzip(megabytes), 0)->size(), 9 << 20) << "a size that was not said";
  EXPECT_EQ(inflated_bytes_max(std::numeric_limits<int64_t>::max()), int64_t{4} << 30);
  EXPECT_EQ(inflated_bytes_max(-1), inflated_bytes_max(0));
}

TEST(Inflate, every_cut_is_noticed) {
  const std::string whole = gzip("a chunk of some length, a chunk of some length");
  for (size_t size = 2; size < whole.size(); ++size) EXPECT_THROW(inflate(whole.substr(0, size), 46), ChunkDamaged) << size;
  std::string flipped = whole;
  flipped[20] = static_cast<char>(flipped[20] ^ 1);
  EXPECT_THROW(inflate(flipped, 46), ChunkDamaged);
  std::string liar = whole;  // claims 4 GiB
  liar.replace(liar.size() - 4, 4, "\xff\xff\xff\xff");
  EXPECT_THROW(inflate(liar, 46), ChunkDamaged);
}

TEST(JsonRows, are_arrays_without_outer_brackets) {
  const auto rows = read_json_rows(R"(["1",null],["a\"b","\u00e4"],
    [2, true])",
                                   {.rows = 3, .columns = 2});
  ASSERT_EQ(rows.size(), 3U);
  EXPECT_EQ(rows[0], (Row{"1", std::nullopt}));
  EXPECT_EQ(rows[1], (Row{"a\"b", "ä"}));
  EXPECT_EQ(rows[2], (Row{"2", "true"}));
  EXPECT_TRUE(read_json_rows("", {}).empty());
  for (const char* bad : {"[\"1\"", "\"1\"", "{}", "[{}]", "[[1]]", "[1],", "x"})
    EXPECT_THROW(read_json_rows(bad, {.rows = 1, .columns = 1}), ChunkDamaged) << bad;
  const std::string deep(1'000'000, '[');
  EXPECT_THROW(read_json_rows(deep, {.rows = 1, .columns = 1}), ChunkDamaged);
}

TEST(JsonRows, no_more_than_announced) {
  EXPECT_THROW(read_json_rows("[1],[2]", {.rows = 1, .columns = 1}), ChunkDamaged);
  EXPECT_THROW(read_json_rows("[1,2]", {.rows = 1, .columns = 1}), ChunkDamaged);
  EXPECT_THROW(read_json_rows("[]", {.rows = 1, .columns = 1}), ChunkDamaged);
  EXPECT_EQ(read_json_rows("[1]", {.rows = 9, .columns = 1}).size(), 1U) << "too few are counted by who asked";
}

TEST(ArrowStream, a_damaged_one_is_a_typed_error) {
  const auto schema = arrow::schema({arrow::field("A", arrow::int64())});
  arrow::Int64Builder builder;
  take(builder.AppendValues({1, 2, 3}));
  const auto batch = arrow::RecordBatch::Make(schema, 3, {take(builder.Finish())});
  auto sink = take(arrow::io::BufferOutputStream::Create());
  auto writer = take(arrow::ipc::MakeStreamWriter(sink, schema));
  take(writer->WriteRecordBatch(*batch));
  take(writer->Close());
  const std::string whole = take(sink->Finish())->ToString();

  std::shared_ptr<arrow::Schema> read;
  const auto batches = read_arrow_stream(arrow::Buffer::FromString(whole), &read);
  ASSERT_EQ(batches.size(), 1U);
  EXPECT_TRUE(batches[0]->Equals(*batch));
  // Cut anywhere, the stream is refused or misses its rows, which the count then shows; it never reads beyond its end.
  for (size_t size = 0; size + 8 < whole.size(); size += 4) {
    try {
      for (const auto& part : read_arrow_stream(arrow::Buffer::FromString(whole.substr(0, size)), &read))
        EXPECT_TRUE(part->ValidateFull().ok());
    } catch (const ChunkDamaged&) {
    }
  }
}

std::string stream_of(const arrow::RecordBatch& batch,
                      const arrow::ipc::IpcWriteOptions& options = arrow::ipc::IpcWriteOptions::Defaults()) {
  auto sink = take(arrow::io::BufferOutputStream::Create());
  auto writer = take(arrow::ipc::MakeStreamWriter(sink, batch.schema(), options));
  take(writer->WriteRecordBatch(batch));
  take(writer->Close());
  return take(sink->Finish())->ToString();
}

std::shared_ptr<arrow::RecordBatch> batch_of(const std::shared_ptr<arrow::Array>& array) {
  return arrow::RecordBatch::Make(arrow::schema({arrow::field("C", array->type())}), array->length(), {array});
}

std::vector<std::shared_ptr<arrow::RecordBatch>> read(const std::string& stream) {
  std::shared_ptr<arrow::Schema> schema;
  return read_arrow_stream(arrow::Buffer::FromString(stream), &schema);
}

std::shared_ptr<arrow::Array> texts(const std::vector<std::string>& values) {
  arrow::StringBuilder builder;
  take(builder.AppendValues(values));
  return take(builder.Finish());
}

// The stream of an array whose offsets 0,4,8,12 are replaced.
std::string with_offsets(const std::shared_ptr<arrow::Array>& array, const std::vector<int32_t>& offsets) {
  std::string stream = stream_of(*batch_of(array));
  const int32_t before[] = {0, 4, 8, 12};
  const size_t at = stream.rfind(std::string(reinterpret_cast<const char*>(before), sizeof before));
  EXPECT_NE(at, std::string::npos);
  std::memcpy(stream.data() + at, offsets.data(), sizeof before);
  return stream;
}

TEST(WireCheck, inner_offsets_are_looked_at) {
  const auto array = texts({"aaaa", "bbbb", "cccc"});
  const auto bytes = take(array->View(arrow::binary()));
  const auto lists = take(arrow::ListArray::FromArrays(*take(arrow::MakeArrayFromScalar(arrow::Int32Scalar(0), 4)),
                                                       *take(arrow::MakeArrayFromScalar(arrow::Int32Scalar(7), 12))));
  EXPECT_EQ(read(with_offsets(array, {0, 4, 8, 12})).size(), 1U);
  for (const auto& damaged : {array, bytes}) {
    EXPECT_THROW(read(with_offsets(damaged, {0, 4, 65'536, 12})), ChunkDamaged);
    EXPECT_THROW(read(with_offsets(damaged, {0, 8, 4, 12})), ChunkDamaged);
    EXPECT_THROW(read(with_offsets(damaged, {-4, 4, 8, 12})), ChunkDamaged);
    EXPECT_THROW(read(with_offsets(damaged, {0, 4, 8, 0x7fffff00})), ChunkDamaged);
  }
  const auto pairs = take(arrow::StructArray::Make({array}, std::vector<std::string>{"a"}));
  EXPECT_THROW(read(with_offsets(pairs, {0, 4, 65'536, 12})), ChunkDamaged) << "in a structured column too";
  EXPECT_EQ(read(stream_of(*batch_of(lists))).size(), 1U);
}

TEST(WireCheck, text_that_is_not_utf8_is_no_damage) {
  EXPECT_EQ(read(stream_of(*batch_of(texts({"a\xff"})))).size(), 1U) << "the converters name its column and row";
}

TEST(WireCheck, what_the_wire_never_sends_is_refused_by_name) {
  const auto dictionary =
      take(arrow::DictionaryArray::FromArrays(take(arrow::MakeArrayFromScalar(arrow::Int32Scalar(0), 2)), texts({"a"})));
  const auto nested = take(arrow::StructArray::Make({dictionary}, std::vector<std::string>{"a"}));
  const auto views = take(arrow::MakeArrayOfNull(arrow::utf8_view(), 2));
  const auto runs =
      take(arrow::RunEndEncodedArray::Make(2, take(arrow::MakeArrayFromScalar(arrow::Int32Scalar(2), 1)), texts({"a"})));
  const auto nothing = take(arrow::MakeArrayOfNull(arrow::null(), 2));
  for (const auto& array : std::vector<std::shared_ptr<arrow::Array>>{dictionary, nested, views, runs, nothing}) {
    try {
      read(stream_of(*batch_of(array)));
      ADD_FAILURE() << array->type()->ToString();
    } catch (const ValueError& error) {
      EXPECT_EQ(error.code(), "snowflake.unexpected_wire_type");
      EXPECT_EQ(error.where(), "column C");
      EXPECT_NE(error.message().find(array->type()->ToString()), std::string::npos);
    }
  }
}

TEST(WireCheck, names_are_utf8) {
  const auto values = take(arrow::MakeArrayFromScalar(arrow::Int32Scalar(0), 2));
  const auto member = take(arrow::StructArray::Make({values}, std::vector<std::string>{"\xff"}));
  EXPECT_THROW(read(stream_of(*batch_of(member))), ChunkDamaged);
  const auto schema = arrow::schema({arrow::field("A\xc3", values->type())});
  EXPECT_THROW(read(stream_of(*arrow::RecordBatch::Make(schema, 2, {values}))), ChunkDamaged);
}

TEST(WireCheck, a_batch_claims_no_more_than_its_bytes) {
  const auto members =
      take(arrow::StructArray::Make({take(arrow::MakeArrayFromScalar(arrow::Int32Scalar(0), 3))}, std::vector<std::string>{"a"}));
  auto data = members->data()->Copy();
  data->type = arrow::struct_(arrow::FieldVector{});
  data->child_data.clear();
  data->length = int64_t{1} << 30;
  EXPECT_THROW(read(stream_of(*batch_of(arrow::MakeArray(data)))), ChunkDamaged);
}

TEST(WireCheck, compressed_buffers_are_refused) {
  auto options = arrow::ipc::IpcWriteOptions::Defaults();
  options.codec = take(arrow::util::Codec::Create(arrow::Compression::ZSTD));
  EXPECT_THROW(read(stream_of(*batch_of(take(arrow::MakeArrayFromScalar(arrow::Int64Scalar(7), 10'000))), options)), ValueError);
  // 80 MB of a stream of some kilobytes.
  EXPECT_THROW(read(stream_of(*batch_of(take(arrow::MakeArrayFromScalar(arrow::Int64Scalar(7), 10'000'000))), options)),
               ChunkDamaged);
}

TEST(WireCheck, buffers_are_aligned) {
  const auto batch = batch_of(take(arrow::MakeArrayFromScalar(arrow::Int64Scalar(7), 100)));
  const std::string stream = stream_of(*batch);
  std::unique_ptr<arrow::Buffer> shifted = take(arrow::AllocateBuffer(static_cast<int64_t>(stream.size()) + 1));
  std::memcpy(shifted->mutable_data() + 1, stream.data(), stream.size());
  std::shared_ptr<arrow::Schema> schema;
  const auto batches = read_arrow_stream(arrow::SliceBuffer(std::shared_ptr<arrow::Buffer>(std::move(shifted)), 1), &schema);
  ASSERT_EQ(batches.size(), 1U);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(values_of<int64_t>(*batches[0]->column(0))) % alignof(int64_t), 0U);
  EXPECT_TRUE(batches[0]->Equals(*batch));
}

}  // namespace
}  // namespace snowmelt
