#include "snowmelt/storage/parquet_file.h"

#include <arrow/compute/api.h>
#include <arrow/extension/json.h>
#include <arrow/io/file.h>
#include <arrow/util/byte_size.h>
#include <gtest/gtest.h>
#include <parquet/arrow/writer.h>

#include "snowmelt/error.h"
#include "snowmelt/storage/test_directory.h"

namespace snowmelt {
namespace {

namespace fs = std::filesystem;

std::shared_ptr<arrow::Schema> example_schema() {
  return arrow::schema(
      {arrow::field("I", arrow::int64(), false), arrow::field("D32", arrow::decimal32(9, 2)),
       arrow::field("D64", arrow::decimal64(18, 4)), arrow::field("D128", arrow::decimal128(38, 0)),
       arrow::field("T", arrow::utf8()), arrow::field("B", arrow::boolean()), arrow::field("F", arrow::float64()),
       arrow::field("DAY", arrow::date32()), arrow::field("TU", arrow::time64(arrow::TimeUnit::MICRO)),
       arrow::field("TN", arrow::time64(arrow::TimeUnit::NANO)), arrow::field("NTZ", arrow::timestamp(arrow::TimeUnit::MICRO)),
       arrow::field("LTZ", arrow::timestamp(arrow::TimeUnit::MICRO, "UTC")),
       arrow::field("NS", arrow::timestamp(arrow::TimeUnit::NANO)), arrow::field("BIN", arrow::binary()),
       arrow::field("OFF", arrow::int16()), arrow::field("V", arrow::list(arrow::field("element", arrow::float32(), false)))});
}

std::vector<SourceColumn> columns_of(const arrow::Schema& schema) {
  std::vector<SourceColumn> columns;
  for (const auto& field : schema.fields())
    columns.push_back({field->name(), SourceType::of(SourceWord::text), field->nullable()});
  return columns;
}

// Three rows: values, nulls (where allowed), values.
std::shared_ptr<arrow::RecordBatch> example_batch(const std::shared_ptr<arrow::Schema>& schema) {
  arrow::ArrayVector arrays;
  for (const auto& field : schema->fields()) {
    std::unique_ptr<arrow::ArrayBuilder> builder;
    EXPECT_TRUE(arrow::MakeBuilder(arrow::default_memory_pool(), field->type(), &builder).ok());
    const auto value = arrow::MakeScalar(field->type(), 42);
    for (int row = 0; row < 3; ++row) {
      if (row == 1 && field->nullable()) {
        EXPECT_TRUE(builder->AppendNull().ok());
      } else if (value.ok()) {
        EXPECT_TRUE(builder->AppendScalar(**value).ok());
      } else {
        EXPECT_TRUE(builder->AppendEmptyValue().ok());
      }
    }
    arrays.push_back(builder->Finish().ValueOrDie());
  }
  return arrow::RecordBatch::Make(schema, 3, arrays);
}

PartInfo write_example(const fs::path& directory, const PartWriterOptions& options = {}) {
  const auto schema = example_schema();
  ParquetPartWriter writer(directory, "part-x-00000.parquet", schema, columns_of(*schema), options);
  writer.write_row_group({example_batch(schema), example_batch(schema)});
  writer.write_row_group({example_batch(schema)});
  EXPECT_EQ(writer.rows_written(), 9);
  return writer.finish();
}

std::string read_code(const fs::path& file, const std::optional<FilePassword>& password = std::nullopt,
                      const std::string& salt = "") {
  try {
    ParquetPartReader reader(file, password, salt);
    while (reader.next()) {
    }
  } catch (const FileError& error) {
    EXPECT_NE(error.where().find(file.filename().string()), std::string::npos) << error.what();
    return error.code();
  }
  return "readable";
}

TEST(ParquetFile, every_type_comes_back_in_its_own_carrier) {
  const TestDirectory directory;
  PartWriterOptions options;
  options.query_id = "01b";
  const PartInfo part = write_example(directory.path(), options);
  EXPECT_EQ(part.rows, 9);
  EXPECT_EQ(part.bytes, static_cast<int64_t>(fs::file_size(directory.path() / part.file)));
  verify_part(directory.path(), part);

  ParquetPartReader reader(directory.path() / part.file, std::nullopt, "", {.batch_rows = 4});
  EXPECT_EQ(reader.rows(), 9);
  EXPECT_TRUE(reader.schema()->Equals(*example_schema(), /*check_metadata=*/false)) << reader.schema()->ToString();
  ASSERT_EQ(reader.source_columns().size(), 16U);
  EXPECT_EQ(reader.source_columns()[1].source_type.text(), "TEXT");
  std::vector<std::shared_ptr<arrow::RecordBatch>> batches;
  while (auto batch = reader.next()) batches.push_back(batch);
  const auto table = arrow::Table::FromRecordBatches(batches).ValueOrDie();
  const auto example = example_batch(example_schema());
  const auto expected = arrow::Table::FromRecordBatches({example, example, example}).ValueOrDie();
  EXPECT_TRUE(table->Equals(*expected)) << table->ToString();
}

TEST(ParquetFile, texts_that_repeat_can_be_read_as_dictionaries) {
  const TestDirectory directory;
  const auto schema = arrow::schema({arrow::field("FEW", arrow::utf8()), arrow::field("MANY", arrow::utf8())});
  arrow::StringBuilder few, many;
  constexpr int kRows = 20'000;  // MANY's dictionary passes its limit and is given up
  for (int i = 0; i < kRows; ++i) {
    ASSERT_TRUE((i % 7 == 0 ? few.AppendNull() : few.Append(i % 2 == 0 ? "even" : "odd")).ok());
    ASSERT_TRUE(many.Append("the text of row number " + std::to_string(i)).ok());
  }
  const auto batch = arrow::RecordBatch::Make(schema, kRows, {few.Finish().ValueOrDie(), many.Finish().ValueOrDie()});
  ParquetPartWriter writer(directory.path(), "p.parquet", schema, columns_of(*schema), {});
  writer.write_row_group({batch});
  writer.finish();

  ParquetPartReader reader(directory.path() / "p.parquet", std::nullopt, "", {.dictionaries = true});
  EXPECT_TRUE(reader.schema()->Equals(*schema, /*check_metadata=*/false)) << reader.schema()->ToString();
  int64_t row = 0;
  while (const auto read = reader.next()) {
    EXPECT_EQ(read->column_data(0)->type->id(), arrow::Type::DICTIONARY);
    EXPECT_EQ(read->column_data(1)->type->id(), arrow::Type::STRING);
    const auto plain = arrow::compute::Cast(*arrow::MakeArray(read->column_data(0)), arrow::utf8()).ValueOrDie();
    EXPECT_TRUE(plain->Equals(batch->column(0)->Slice(row, read->num_rows()))) << row;
    EXPECT_TRUE(read->column(1)->Equals(batch->column(1)->Slice(row, read->num_rows()))) << row;
    row += read->num_rows();
  }
  EXPECT_EQ(row, kRows);
}

TEST(ParquetFile, row_groups_can_be_picked) {
  const TestDirectory directory;
  const auto schema = arrow::schema({arrow::field("N", arrow::int64())});
  ParquetPartWriter writer(directory.path(), "p.parquet", schema, columns_of(*schema), {});
  for (int64_t group = 0; group < 4; ++group) {
    arrow::Int64Builder builder;
    for (int64_t i = 0; i <= group; ++i) ASSERT_TRUE(builder.Append(10 * group + i).ok());
    writer.write_row_group({arrow::RecordBatch::Make(schema, group + 1, {builder.Finish().ValueOrDie()})});
  }
  writer.finish();
  ParquetPartReader reader(directory.path() / "p.parquet", std::nullopt, "");
  EXPECT_EQ(reader.row_group_rows(), (std::vector<int64_t>{1, 2, 3, 4}));
  reader.select_row_groups(1, 3);
  std::vector<int64_t> values;
  while (const auto batch = reader.next()) {
    const auto& array = static_cast<const arrow::Int64Array&>(*batch->column(0));
    values.insert(values.end(), array.raw_values(), array.raw_values() + array.length());
  }
  EXPECT_EQ(values, (std::vector<int64_t>{10, 11, 20, 21, 22}));
}

TEST(ParquetFile, row_groups_can_be_written_column_by_column) {
  const TestDirectory directory;
  const auto schema = arrow::schema({arrow::field("A", arrow::int64()), arrow::field("B", arrow::int64())});
  const auto batch = example_batch(schema);
  ParquetPartWriter writer(directory.path(), "p.parquet", schema, columns_of(*schema), {});
  std::vector<int> asked;
  writer.write_row_group(3, [&](int field) {
    asked.push_back(field);
    return std::make_shared<arrow::ChunkedArray>(batch->column(field));
  });
  EXPECT_EQ(asked, (std::vector<int>{0, 1}));
  EXPECT_THROW(writer.write_row_group(4, [&](int field) { return std::make_shared<arrow::ChunkedArray>(batch->column(field)); }),
               BugError);
}

TEST(ParquetFile, a_table_without_rows_keeps_its_schema) {
  const TestDirectory directory;
  const auto schema = example_schema();
  ParquetPartWriter writer(directory.path(), "p.parquet", schema, columns_of(*schema), {});
  const PartInfo part = writer.finish();
  EXPECT_EQ(part.rows, 0);
  ParquetPartReader reader(directory.path() / part.file, std::nullopt, "");
  EXPECT_EQ(reader.schema()->num_fields(), 16);
  EXPECT_EQ(reader.next(), nullptr);
}

TEST(ParquetFile, an_unfinished_part_removes_itself) {
  const TestDirectory directory;
  {
    const auto schema = example_schema();
    ParquetPartWriter writer(directory.path(), "p.parquet", schema, columns_of(*schema), {});
    writer.write_row_group({example_batch(schema)});
    EXPECT_EQ(file_names(directory.path()), std::vector<std::string>{"p.parquet.tmp"});
  }
  EXPECT_TRUE(file_names(directory.path()).empty());
}

TEST(ParquetFile, encryption_needs_the_password) {
  const TestDirectory directory;
  const Secret password("correct horse");
  PartWriterOptions options;
  options.key = FilePassword(password).key(random_salt_hex());
  const fs::path file = directory.path() / write_example(directory.path(), options).file;

  EXPECT_EQ(read_code(file), "parquet.encrypted");
  try {
    ParquetPartReader reader(file, std::nullopt, "");
    ADD_FAILURE();
  } catch (const FileError& error) {
    EXPECT_NE(error.hint().find("SNOWMELT_PASSWORD"), std::string::npos) << error.what();
  }
  EXPECT_EQ(read_code(file, Secret("wrong"), options.key->salt_hex), "parquet.wrong_password");
  EXPECT_EQ(read_code(file, password, options.key->salt_hex), "readable");
  EXPECT_EQ(read_code(file, password), "readable") << "the salt stands in the file too";
  EXPECT_EQ(read_code(file, password, "xyz"), "encryption.bad_salt");
  const TestDirectory plain;
  write_example(plain.path());
  EXPECT_EQ(read_code(plain.path() / "part-x-00000.parquet", password), "parquet.not_encrypted") << "anybody may have made it";
  const std::string bytes = read_file(file);
  EXPECT_EQ(bytes.find("snowmelt.columns"), std::string::npos) << "names are inside";
  EXPECT_EQ(bytes.find("NTZ"), std::string::npos);
}

TEST(ParquetFile, scrypt_is_scrypt) {
  // python3 -c "import hashlib; print(hashlib.scrypt(b'pw', salt=bytes(range(16)), n=2**15, r=8, p=1, dklen=32,
  // maxmem=2**26).hex())"
  const EncryptionKey key = FilePassword(Secret("pw")).key("000102030405060708090a0b0c0d0e0f");
  std::string hex;
  for (const char c : key.bytes) {
    static constexpr char digits[] = "0123456789abcdef";
    hex += {digits[static_cast<unsigned char>(c) >> 4], digits[c & 15]};
  }
  EXPECT_EQ(hex, "7765d6c0d0cd8b60298d1ada5481c928bfc0280e153df6365663c50d9143fb0f");
}

TEST(ParquetFile, damaged_files_are_named_by_their_damage) {
  const TestDirectory directory;
  const fs::path file = directory.path() / write_example(directory.path()).file;
  const std::string good = read_file(file);
  EXPECT_EQ(read_code(directory.path() / "none.parquet"), "file.io");
  struct Case {
    std::string bytes;
    const char* code;
  };
  std::string flipped = good;
  flipped[6] = static_cast<char>(flipped[6] ^ 0x55);
  std::string bad_page = good;
  bad_page[60] = static_cast<char>(bad_page[60] ^ 0x55);
  for (const auto& [bytes, code] :
       {Case{"", "parquet.not_parquet"}, Case{"id,name\n1,a\n", "parquet.not_parquet"}, Case{"PAR1", "parquet.cut_short"},
        Case{good.substr(0, good.size() - 1), "parquet.cut_short"}, Case{good.substr(0, 100), "parquet.cut_short"},
        Case{good.substr(0, 100) + "PAR1", "parquet.damaged"}, Case{flipped, "parquet.damaged"},
        Case{bad_page, "parquet.damaged"}}) {
    write_file(file, bytes);
    EXPECT_EQ(read_code(file), code) << bytes.size();
  }
}

TEST(ParquetFile, every_cut_is_noticed) {
  const TestDirectory directory;
  const fs::path file = directory.path() / write_example(directory.path()).file;
  const std::string good = read_file(file);
  for (size_t size = 0; size < good.size(); size += 13) {
    write_file(file, good.substr(0, size));
    EXPECT_NE(read_code(file), "readable") << size;
  }
}

TEST(ParquetFile, extension_types_of_other_writers_become_their_storage) {
  const TestDirectory directory;
  const auto type = arrow::extension::json(arrow::utf8());
  ASSERT_TRUE(arrow::GetExtensionType("arrow.json") ||
              arrow::RegisterExtensionType(std::static_pointer_cast<arrow::ExtensionType>(type)).ok());
  arrow::StringBuilder builder;
  ASSERT_TRUE(builder.Append("{}").ok());
  const auto storage = builder.Finish().ValueOrDie();
  const auto table =
      arrow::Table::Make(arrow::schema({arrow::field("J", type)}), {arrow::ExtensionType::WrapArray(type, storage)});
  const fs::path file = directory.path() / "other.parquet";
  const auto properties = parquet::ArrowWriterProperties::Builder().store_schema()->build();
  ASSERT_TRUE(parquet::arrow::WriteTable(*table, arrow::default_memory_pool(),
                                         arrow::io::FileOutputStream::Open(file.string()).ValueOrDie(), 10,
                                         parquet::default_writer_properties(), properties)
                  .ok());
  ParquetPartReader reader(file, std::nullopt, "");
  EXPECT_EQ(reader.schema()->field(0)->type()->id(), arrow::Type::STRING);
  ASSERT_EQ(reader.source_columns().size(), 1u);
  EXPECT_EQ(reader.source_columns()[0].source_type.text(), "VARIANT");
  const auto batch = reader.next();
  ASSERT_TRUE(batch);
  EXPECT_EQ(batch->column(0)->type_id(), arrow::Type::STRING);
  EXPECT_TRUE(batch->ValidateFull().ok());
}

constexpr int64_t kMemory = 64 << 20;

// One row group of ids and texts, the same text `large` in all rows from `first_large` on: a file of some kilobytes.
fs::path write_texts(const TestDirectory& directory, int64_t rows, int64_t first_large, const std::string& large) {
  arrow::Int64Builder ids;
  arrow::StringDictionary32Builder texts;
  for (int64_t i = 0; i < rows; ++i) {
    EXPECT_TRUE(ids.Append(i).ok());
    EXPECT_TRUE(texts.Append(i < first_large ? "small" : large).ok());
  }
  const auto table = arrow::Table::Make(
      arrow::schema({arrow::field("id", arrow::int64()), arrow::field("text", arrow::dictionary(arrow::int32(), arrow::utf8()))}),
      {ids.Finish().ValueOrDie(), texts.Finish().ValueOrDie()});
  const fs::path file = directory.path() / "texts.parquet";
  const auto properties = parquet::WriterProperties::Builder().compression(parquet::Compression::ZSTD)->build();
  EXPECT_TRUE(parquet::arrow::WriteTable(*table, arrow::default_memory_pool(),
                                         arrow::io::FileOutputStream::Open(file.string()).ValueOrDie(), rows, properties)
                  .ok());
  return file;
}

struct TextsRead {
  int64_t rows = 0;
  int64_t large = 0;
  int64_t most_bytes = 0;  // of one batch
  bool in_order = true;
};

TextsRead read_texts(const fs::path& file) {
  ParquetPartReader reader(file, std::nullopt, "", {.memory_limit = kMemory});
  TextsRead read;
  while (const auto batch = reader.next()) {
    const auto& ids = static_cast<const arrow::Int64Array&>(*batch->column(0));
    const auto& texts = static_cast<const arrow::StringArray&>(*batch->column(1));
    for (int64_t i = 0; i < batch->num_rows(); ++i) {
      read.in_order = read.in_order && ids.Value(i) == read.rows + i;
      read.large += texts.value_length(i) > 5 ? 1 : 0;
    }
    read.rows += batch->num_rows();
    read.most_bytes = std::max(read.most_bytes, arrow::util::TotalBufferSize(*batch));
  }
  return read;
}

TEST(ParquetFile, batches_are_cut_by_bytes) {
  const TestDirectory directory;
  const TextsRead read = read_texts(write_texts(directory, 2'000, 0, std::string(200'000, 'x')));
  EXPECT_EQ(read.rows, 2'000);
  EXPECT_EQ(read.large, 2'000);
  EXPECT_TRUE(read.in_order);
  EXPECT_LE(read.most_bytes, 32 << 20);
}

TEST(ParquetFile, large_rows_after_small_ones_are_read_again_in_shorter_batches) {
  const TestDirectory directory;
  const TextsRead read = read_texts(write_texts(directory, 40'000, 38'000, std::string(200'000, 'x')));
  EXPECT_EQ(read.rows, 40'000);
  EXPECT_EQ(read.large, 2'000);
  EXPECT_TRUE(read.in_order) << "no row is lost or there twice";
  EXPECT_LE(read.most_bytes, kMemory);
}

TEST(ParquetFile, a_row_beyond_the_memory_is_refused_by_number) {
  const TestDirectory directory;
  const fs::path file = write_texts(directory, 10, 9, std::string(150 << 20, 'x'));
  try {
    read_texts(file);
    ADD_FAILURE() << "it was read";
  } catch (const FileError& error) {
    EXPECT_EQ(error.code(), "parquet.too_large");
    EXPECT_EQ(error.where(), file.string());
  }
}

TEST(ParquetFile, batches_outlive_their_reader) {
  const TestDirectory directory;
  std::shared_ptr<arrow::RecordBatch> batch;
  {
    ParquetPartReader reader(write_texts(directory, 10, 5, "large"), std::nullopt, "");
    batch = reader.next();
  }
  EXPECT_TRUE(batch->ValidateFull().ok());
}

}  // namespace
}  // namespace snowmelt
