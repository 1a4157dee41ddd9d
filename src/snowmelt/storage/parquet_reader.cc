#include <arrow/buffer.h>
#include <arrow/extension_type.h>
#include <arrow/io/interfaces.h>
#include <arrow/util/byte_size.h>
#include <parquet/arrow/reader.h>
#include <parquet/encryption/encryption.h>
#include <parquet/file_reader.h>

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>

#include "snowmelt/error.h"
#include "snowmelt/machine_limits.h"
#include "snowmelt/storage/durable_file.h"
#include "snowmelt/storage/limited_pool.h"
#include "snowmelt/storage/parquet_file.h"

namespace snowmelt {
namespace {

namespace fs = std::filesystem;

// Column chunks are read through a buffer of this size: another writer's may be hundreds of megabytes long.
constexpr int64_t kReadBufferBytes = 64 << 10;
// A batch's values: with 16 k rows of 300 columns a load held 666 MB of decoded, encoded and waiting rows.
constexpr int64_t kBatchRowsMax = 16 << 10;
constexpr int64_t kBatchRowsMin = 1 << 10;
constexpr int64_t kBatchValuesMax = 256 << 10;
constexpr const char* kPasswordHint = "set SNOWMELT_PASSWORD to the password of the export (in Python: the password argument)";
// Rows are a batch by their bytes. What a file says of its bytes is little where texts are dictionaries or share their
// beginnings, so the first batch is short and the next ones are made by what was decoded.
constexpr int64_t kBatchBytes = 8 << 20;
constexpr int64_t kFirstBatchRows = 64;
constexpr int64_t kGrowth = 4;
constexpr int64_t kMemoryLimitMin = 64 << 20;
constexpr size_t kMagicBytes = 4;
constexpr int64_t kFileBytesMin = 12;  // magic, footer length, magic

[[noreturn]] void throw_unreadable(const fs::path& file, std::string code, std::string what, std::string hint = {}) {
  throw FileError(std::move(code), std::move(what), {.where = file.string(), .hint = std::move(hint)});
}

// Arrow's view of an InputFile. An error of ours does not survive Arrow's Status: it is kept and thrown by the reader.
class InputFileView : public arrow::io::RandomAccessFile {
 public:
  explicit InputFileView(std::shared_ptr<const InputFile> file) : file_(std::move(file)) {}

  arrow::Result<int64_t> ReadAt(int64_t position, int64_t size, void* out) override {
    if (position < 0 || size < 0) return arrow::Status::Invalid("a read outside the file");
    try {
      return static_cast<int64_t>(file_->read(position, out, static_cast<size_t>(size)));
    } catch (...) {
      error_ = std::current_exception();
      return arrow::Status::IOError("read failed");
    }
  }
  arrow::Result<std::shared_ptr<arrow::Buffer>> ReadAt(int64_t position, int64_t size) override {
    // What the file cannot give is not allocated, whatever a damaged footer asks for.
    size = std::clamp<int64_t>(size, 0, std::max<int64_t>(file_->bytes() - position, 0));
    ARROW_ASSIGN_OR_RAISE(auto buffer, arrow::AllocateResizableBuffer(size));
    ARROW_ASSIGN_OR_RAISE(const int64_t got, ReadAt(position, size, buffer->mutable_data()));
    ARROW_RETURN_NOT_OK(buffer->Resize(got, /*shrink_to_fit=*/false));
    return std::shared_ptr<arrow::Buffer>(std::move(buffer));
  }
  arrow::Result<int64_t> Read(int64_t size, void* out) override {
    ARROW_ASSIGN_OR_RAISE(const int64_t got, ReadAt(position_, size, out));
    position_ += got;
    return got;
  }
  arrow::Result<std::shared_ptr<arrow::Buffer>> Read(int64_t size) override {
    ARROW_ASSIGN_OR_RAISE(auto buffer, ReadAt(position_, size));
    position_ += buffer->size();
    return buffer;
  }
  arrow::Status Seek(int64_t position) override {
    if (position < 0) return arrow::Status::Invalid("a position before the file");
    position_ = position;
    return arrow::Status::OK();
  }
  arrow::Result<int64_t> Tell() const override { return position_; }
  arrow::Result<int64_t> GetSize() override { return file_->bytes(); }
  arrow::Status Close() override {
    closed_ = true;
    return arrow::Status::OK();
  }
  bool closed() const override { return closed_; }
  const std::exception_ptr& error() const { return error_; }

 private:
  std::shared_ptr<const InputFile> file_;
  int64_t position_ = 0;
  std::exception_ptr error_;
  bool closed_ = false;
};

// Tells the usual damages apart before Arrow sees the file. Gives true for an encrypted one.
bool check_magic(const fs::path& file, const InputFile& input) {
  const int64_t size = input.bytes();
  const auto magic_at = [&](int64_t offset) {
    std::string magic(kMagicBytes, '\0');
    return input.read(offset, magic.data(), kMagicBytes) == kMagicBytes ? magic : std::string();
  };
  const std::string head = magic_at(0);
  const bool ours = head == "PAR1" || head == "PARE";
  if (!ours) throw_unreadable(file, "parquet.not_parquet", size == 0 ? "the file is empty" : "the file is not Parquet");
  const std::string tail = size < kFileBytesMin ? std::string() : magic_at(size - static_cast<int64_t>(kMagicBytes));
  if (tail != head)
    throw_unreadable(file, "parquet.cut_short", "the Parquet file is cut short: its footer is missing",
                     "export or copy it again");
  return head == "PARE";
}

// The salt that a file of ours carries as its footer key's metadata.
class PasswordKeyRetriever : public parquet::DecryptionKeyRetriever {
 public:
  PasswordKeyRetriever(FilePassword password, std::string salt_hex)
      : password_(std::move(password)), salt_hex_(std::move(salt_hex)) {}
  arrow::util::SecureString GetKey(const std::string& key_metadata) override {
    return arrow::util::SecureString(password_.key(salt_hex_.empty() ? key_metadata : salt_hex_).bytes);
  }

 private:
  FilePassword password_;
  std::string salt_hex_;
};

// Extension types (arrow.json, arrow.uuid of other writers) add nothing the loader needs: what they are stored as stays.
std::shared_ptr<arrow::DataType> storage_type(const std::shared_ptr<arrow::DataType>& type) {
  if (type->id() == arrow::Type::EXTENSION) return storage_type(static_cast<const arrow::ExtensionType&>(*type).storage_type());
  const auto child = [&](int i) { return type->field(i)->WithType(storage_type(type->field(i)->type())); };
  switch (type->id()) {
    case arrow::Type::LIST: return arrow::list(child(0));
    case arrow::Type::LARGE_LIST: return arrow::large_list(child(0));
    case arrow::Type::FIXED_SIZE_LIST:
      return arrow::fixed_size_list(child(0), static_cast<const arrow::FixedSizeListType&>(*type).list_size());
    case arrow::Type::STRUCT: {
      arrow::FieldVector fields;
      for (int i = 0; i < type->num_fields(); ++i) fields.push_back(child(i));
      return arrow::struct_(std::move(fields));
    }
    default: return type;
  }
}

std::shared_ptr<arrow::ArrayData> with_storage_type(const arrow::ArrayData& data, const std::shared_ptr<arrow::DataType>& type) {
  std::shared_ptr<arrow::ArrayData> plain = data.Copy();
  plain->type = type;
  for (size_t i = 0; i < plain->child_data.size() && static_cast<int>(i) < type->num_fields(); ++i) {
    plain->child_data[i] = with_storage_type(*plain->child_data[i], type->field(static_cast<int>(i))->type());
  }
  return plain;
}

std::vector<SourceColumn> parse_source_columns(const fs::path& file,
                                               const std::shared_ptr<const arrow::KeyValueMetadata>& metadata) {
  std::vector<SourceColumn> columns;
  const auto text = metadata ? metadata->Get("snowmelt.columns") : arrow::Result<std::string>(arrow::Status::KeyError(""));
  if (!text.ok()) return columns;
  const auto refuse = [&](const std::string& what) {
    throw_unreadable(file, "parquet.bad_columns", "its key snowmelt.columns is not snowmelt's: " + what,
                     "export the table again, or write the file without that key");
  };
  try {
    const auto list = nlohmann::json::parse(*text);
    if (!list.is_array()) refuse("it is no list of columns");
    for (const auto& column : list) {
      const std::string name = column.at("name");
      const std::string type = column.at("source_type");
      const auto source_type = SourceType::parse(type);
      if (!source_type) refuse(unknown_source_type(name, type));
      columns.push_back({name, *source_type, column.at("nullable")});
    }
  } catch (const nlohmann::json::exception&) {
    refuse("it is no list of columns");
  }
  return columns;
}

// What other writers' logical types say beyond Arrow's types, in the words of source types; empty where nothing.
SourceType logical_word(const parquet::schema::Node& node) {
  if (!node.is_primitive() || node.is_repeated()) return {};
  const auto& logical = *node.logical_type();
  if (logical.is_UUID()) return "UUID";
  if (logical.is_JSON()) return "VARIANT";
  if (logical.is_enum()) return "ENUM";
  return logical.is_interval() ? SourceType("INTERVAL") : SourceType();
}

std::vector<SourceColumn> foreign_columns(const parquet::SchemaDescriptor& parquet_schema, const arrow::Schema& schema) {
  const parquet::schema::GroupNode& root = *parquet_schema.group_node();
  std::vector<SourceColumn> columns;
  bool any = false;
  for (int i = 0; i < root.field_count() && root.field_count() == schema.num_fields(); ++i) {
    columns.push_back({schema.field(i)->name(), logical_word(*root.field(i)), schema.field(i)->nullable()});
    any = any || !columns.back().source_type.empty();
  }
  return any ? columns : std::vector<SourceColumn>();
}

// INT96 is the timestamp of Spark, Hive and Impala. Spark means an instant by it.
bool written_by_spark(const parquet::FileMetaData& metadata) {
  return metadata.key_value_metadata() != nullptr && metadata.key_value_metadata()->Contains("org.apache.spark.version");
}

// Old Spark counted days before 1582-10-15 in the Julian calendar, and said so.
bool in_hybrid_calendar(const parquet::FileMetaData& metadata) {
  const auto& keys = metadata.key_value_metadata();
  return keys != nullptr && (keys->Contains("org.apache.spark.legacyDateTime") || keys->Contains("org.apache.spark.legacyINT96"));
}

// Top-level fields that are INT96.
std::vector<int> int96_fields(const parquet::SchemaDescriptor& parquet_schema) {
  const parquet::schema::GroupNode& root = *parquet_schema.group_node();
  std::vector<int> fields;
  for (int i = 0; i < root.field_count(); ++i) {
    if (!root.field(i)->is_primitive()) continue;
    if (static_cast<const parquet::schema::PrimitiveNode&>(*root.field(i)).physical_type() == parquet::Type::INT96)
      fields.push_back(i);
  }
  return fields;
}

bool is_dictionary_page(parquet::Encoding::type encoding) {
  return encoding == parquet::Encoding::RLE_DICTIONARY || encoding == parquet::Encoding::PLAIN_DICTIONARY;
}

// A dictionary is copied for each batch, so a large one costs more than it saves. Compressed.
constexpr int64_t kDictionaryPageBytesMax = 16 << 10;

// Whether the column has small dictionaries and no data page gave its one up. A writer that does not count its pages by encoding
// has none, as far as this knows.
bool is_all_dictionary(const parquet::FileMetaData& metadata, int column) {
  for (int group = 0; group < metadata.num_row_groups(); ++group) {
    const auto chunk = metadata.RowGroup(group)->ColumnChunk(column);
    if (chunk->has_dictionary_page() && chunk->data_page_offset() - chunk->dictionary_page_offset() > kDictionaryPageBytesMax)
      return false;
    bool any = false;
    for (const parquet::PageEncodingStats& pages : chunk->encoding_stats()) {
      if (pages.page_type == parquet::PageType::DICTIONARY_PAGE || pages.count == 0) continue;
      if (!is_dictionary_page(pages.encoding)) return false;
      any = true;
    }
    if (!any && chunk->num_values() != 0) return false;
  }
  return true;
}

// Top-level text columns that can be read without making each value.
std::vector<int> dictionary_columns(const parquet::FileMetaData& metadata) {
  std::vector<int> columns;
  for (int i = 0; i < metadata.num_columns(); ++i) {
    const parquet::ColumnDescriptor& column = *metadata.schema()->Column(i);
    if (column.max_repetition_level() == 0 && column.max_definition_level() <= 1 && column.path()->ToDotVector().size() == 1 &&
        column.logical_type()->is_string() && is_all_dictionary(metadata, i))
      columns.push_back(i);
  }
  return columns;
}

}  // namespace

struct ParquetPartReader::Impl {
  LimitedPool::Owner pool;
  int64_t memory_limit = 0;  // of the reader; the pool's own is raised for a single row
  fs::path file;
  std::shared_ptr<InputFileView> input;
  bool encrypted = false;
  std::unique_ptr<parquet::arrow::FileReader> reader;
  std::unique_ptr<arrow::RecordBatchReader> batches;
  std::shared_ptr<arrow::Schema> schema;
  bool has_extensions = false;
  std::vector<SourceColumn> columns;
  int64_t rows = 0;
  int64_t rows_read = 0;
  int64_t rows_selected = 0;  // by the footer, up to the end of those selected
  int groups_end = 0;         // of those selected
  int64_t skip_rows = 0;      // read already, before the memory was short
  bool sized_by_bytes = true;
  int64_t batch_rows = 0;  // of the next batch
  int64_t batch_rows_max = 0;
  bool hybrid_calendar = false;
  // INT96 is read twice: as microseconds, which reach every year, and as nanoseconds, whose digits below the microsecond are
  // right even where they wrap.
  std::vector<int> int96;
  std::unique_ptr<parquet::arrow::FileReader> nanos_reader;
  std::unique_ptr<arrow::RecordBatchReader> nanos;

  [[noreturn]] void fail(const std::string& detail) const {
    if (input->error()) std::rethrow_exception(input->error());
    if (encrypted) {
      throw_unreadable(file, "parquet.wrong_password", "the file cannot be decrypted: a wrong password, or the file was changed",
                       kPasswordHint);
    }
    throw_unreadable(file, "parquet.damaged", "the Parquet file is damaged: " + detail, "export or copy it again");
  }

  template <typename Call>
  auto guarded(Call&& call) const -> decltype(call()) {
    try {
      return call();
    } catch (const parquet::ParquetException& exception) {
      fail(exception.what());
    }
  }

  template <typename T>
  T check(arrow::Result<T>&& result) const {
    if (!result.ok()) fail(result.status().message());
    return std::move(result).ValueUnsafe();
  }

  parquet::ReaderProperties reader_properties(const std::optional<FilePassword>& password, const std::string& salt_hex) const {
    parquet::ReaderProperties properties(pool.get());
    properties.enable_buffered_stream();
    properties.set_buffer_size(kReadBufferBytes);
    properties.set_page_checksum_verification(true);
    if (encrypted) {
      if (!password)
        throw_unreadable(file, "parquet.encrypted", "the file is encrypted and no password was given", kPasswordHint);
      properties.file_decryption_properties(parquet::FileDecryptionProperties::Builder()
                                                .key_retriever(std::make_shared<PasswordKeyRetriever>(*password, salt_hex))
                                                ->build());
    }
    return properties;
  }

  void open(const std::shared_ptr<const InputFile>& opened, const std::optional<FilePassword>& password,
            const std::string& salt_hex, const PartReaderOptions& options) {
    input = std::make_shared<InputFileView>(opened);
    encrypted = check_magic(file, *opened);
    memory_limit = std::max(options.memory_limit > 0 ? options.memory_limit : default_memory_limit(), kMemoryLimitMin);
    pool = LimitedPool::make(memory_limit);
    if (password && !encrypted) {
      throw_unreadable(file, "parquet.not_encrypted",
                       "a password was given, and the file is not encrypted: anybody may have made it",
                       "give no password (SNOWMELT_PASSWORD, or the argument) to load it all the same");
    }

    const auto build = [&](arrow::TimeUnit::type int96_unit) {
      parquet::ArrowReaderProperties arrow_properties(/*use_threads=*/false);
      arrow_properties.set_pre_buffer(false);  // it would hold a whole row group and use Arrow's threads
      arrow_properties.set_smallest_decimal_enabled(true);
      arrow_properties.set_coerce_int96_timestamp_unit(int96_unit);
      parquet::arrow::FileReaderBuilder builder;
      const arrow::Status status = guarded([&] { return builder.Open(input, reader_properties(password, salt_hex)); });
      if (!status.ok()) fail(status.message());
      const parquet::FileMetaData& metadata = *builder.raw_reader()->metadata();
      const int64_t columns_count = std::max(metadata.num_columns(), 1);
      sized_by_bytes = options.batch_rows == 0;
      batch_rows_max =
          sized_by_bytes ? std::clamp(kBatchValuesMax / columns_count, kBatchRowsMin, kBatchRowsMax) : options.batch_rows;
      if (options.dictionaries) {
        for (const int column : dictionary_columns(metadata)) arrow_properties.set_read_dictionary(column, true);
      }
      return check(guarded([&] { return builder.memory_pool(pool.get())->properties(arrow_properties)->Build(); }));
    };
    reader = build(arrow::TimeUnit::MICRO);
    const parquet::FileMetaData& metadata = *reader->parquet_reader()->metadata();
    rows = metadata.num_rows();
    columns = parse_source_columns(file, metadata.key_value_metadata());
    hybrid_calendar = in_hybrid_calendar(metadata);
    int96 = int96_fields(*metadata.schema());
    if (!int96.empty()) nanos_reader = build(arrow::TimeUnit::NANO);
    select(0, metadata.num_row_groups());
    plain_schema(options.dictionaries);
    if (columns.empty()) columns = foreign_columns(*metadata.schema(), *schema);
  }

  void open_groups(int begin, int end) {
    std::vector<int> groups;
    for (int group = begin; group < end; ++group) groups.push_back(group);
    batches = check(guarded([&] { return reader->GetRecordBatchReader(groups); }));
    if (nanos_reader) nanos = check(guarded([&] { return nanos_reader->GetRecordBatchReader(groups); }));
  }

  void select(int begin, int end) {
    open_groups(begin, end);
    const parquet::FileMetaData& metadata = *reader->parquet_reader()->metadata();
    rows_read = 0;
    for (int group = 0; group < begin; ++group) rows_read += metadata.RowGroup(group)->num_rows();
    groups_end = end;
    rows_selected = rows_read;
    for (int group = begin; group < end; ++group) rows_selected += metadata.RowGroup(group)->num_rows();
    batch_rows = sized_by_bytes ? std::min(kFirstBatchRows, batch_rows_max) : batch_rows_max;
  }

  // Once more from the row group that the next row is in, with fewer rows at a time.
  void read_again() {
    const parquet::FileMetaData& metadata = *reader->parquet_reader()->metadata();
    int group = 0;
    int64_t first_row = 0;
    while (group < groups_end && first_row + metadata.RowGroup(group)->num_rows() <= rows_read)
      first_row += metadata.RowGroup(group++)->num_rows();
    batches.reset();
    nanos.reset();
    open_groups(group, groups_end);
    skip_rows = rows_read - first_row;
  }

  void shrink() {
    constexpr int64_t kStep = 16;
    if (batch_rows > 1) {
      // It does not grow again: each time costs what was decoded of the row group.
      batch_rows = batch_rows_max = std::max<int64_t>(batch_rows / kStep, 1);
      return;
    }
    if (pool->limit() == memory_limit) {
      pool->set_limit(2 * memory_limit);
      return;
    }
    throw_unreadable(file, "parquet.too_large",
                     "decoding row " + std::to_string(rows_read + 1) + " takes more memory than the " +
                         std::to_string(pool->limit()) + " bytes that a load may",
                     "write the file with smaller row groups and pages, or load it where more memory is free");
  }

  // The rows of the next batch, by the bytes of this one.
  void measure(const arrow::RecordBatch& batch) {
    if (!sized_by_bytes || batch.num_rows() == 0) return;
    const int64_t bytes = std::max<int64_t>(arrow::util::TotalBufferSize(batch) / batch.num_rows(), 1);
    batch_rows = std::clamp<int64_t>(kBatchBytes / bytes, 1, std::min(batch_rows * kGrowth, batch_rows_max));
  }

  std::shared_ptr<arrow::RecordBatch> decode() {
    for (;;) {
      const int64_t rows_wanted = skip_rows > 0 ? std::min(skip_rows, batch_rows) : batch_rows;
      for (auto* one : {reader.get(), nanos_reader.get()}) {
        if (one != nullptr) one->set_batch_size(rows_wanted);
      }
      auto decoded = guarded([&] { return batches->Next(); });
      std::shared_ptr<arrow::RecordBatch> fine;
      if (decoded.ok() && *decoded && nanos) {
        auto other = guarded([&] { return nanos->Next(); });
        if (!other.ok())
          decoded = other.status();
        else
          fine = *other;
      }
      if (decoded.status().IsOutOfMemory()) {
        decoded = std::shared_ptr<arrow::RecordBatch>();
        shrink();
        read_again();
        continue;
      }
      const std::shared_ptr<arrow::RecordBatch> batch = check(std::move(decoded));
      if (!batch) {
        // A column that ends early looks like the end of all to Arrow.
        if (rows_read != rows_selected)
          fail("its columns have " + std::to_string(rows_read) + " rows, its footer says " + std::to_string(rows_selected));
        return batch;
      }
      check_indices(*batch);
      if (skip_rows > 0) {
        skip_rows -= batch->num_rows();
        continue;
      }
      measure(*batch);
      return nanos ? checked_int96(batch, fine) : batch;
    }
  }

  // Dictionaries come as they are in the file, and nothing below has held their indices against them.
  void check_indices(const arrow::RecordBatch& batch) const {
    for (const auto& column : batch.column_data()) {
      if (column->type->id() != arrow::Type::DICTIONARY) continue;
      const int32_t* indices = column->GetValues<int32_t>(1);
      const int64_t entries = column->dictionary->length;
      for (int64_t i = 0; i < column->length; ++i) {
        if (static_cast<uint32_t>(indices[i]) >= entries && column->IsValid(i)) fail("an index outside of its dictionary");
      }
    }
  }

  // The file's INT96 columns as instants where Spark wrote them, and refused where a value has digits below the microsecond.
  std::shared_ptr<arrow::RecordBatch> checked_int96(const std::shared_ptr<arrow::RecordBatch>& batch,
                                                    const std::shared_ptr<arrow::RecordBatch>& fine) const {
    if (!fine || fine->num_rows() != batch->num_rows()) fail("its two readings differ");
    auto data = batch->column_data();
    for (const int i : int96) {
      const int64_t* micros = data[static_cast<size_t>(i)]->GetValues<int64_t>(1);
      const int64_t* digits = fine->column_data(i)->GetValues<int64_t>(1);
      for (int64_t row = 0; row < batch->num_rows(); ++row) {
        if (static_cast<uint64_t>(micros[row]) * 1'000 == static_cast<uint64_t>(digits[row])) continue;
        if (data[static_cast<size_t>(i)]->IsNull(row)) continue;
        throw ValueError("parquet.subsecond_digits",
                         "the INT96 timestamp has digits below the microsecond, which PostgreSQL has not",
                         {.where = "column " + schema->field(i)->name() + ", row " + std::to_string(rows_read + row + 1),
                          .hint = "write the file with timestamps in microseconds"});
      }
      if (data[static_cast<size_t>(i)]->type->Equals(*schema->field(i)->type())) continue;
      data[static_cast<size_t>(i)] = data[static_cast<size_t>(i)]->Copy();
      data[static_cast<size_t>(i)]->type = schema->field(i)->type();
    }
    return arrow::RecordBatch::Make(schema, batch->num_rows(), std::move(data));
  }

  // A day of the Julian calendar would be another one here.
  template <typename T>
  void check_calendar(const arrow::ArrayData& data, T first, int field) const {
    const T* values = data.GetValues<T>(1);
    for (int64_t row = 0; row < data.length; ++row) {
      if (values[row] >= first || data.IsNull(row)) continue;
      throw ValueError("parquet.hybrid_calendar", "a value before 1582-10-15 in a file that Spark wrote in its legacy calendar",
                       {.where = "column " + schema->field(field)->name() + ", row " + std::to_string(rows_read + row + 1),
                        .hint = "write the file with spark.sql.parquet.datetimeRebaseModeInWrite = CORRECTED"});
    }
  }

  void check_calendar(const arrow::RecordBatch& batch) const {
    constexpr int32_t kFirstDay = -141'427;  // 1582-10-15
    constexpr int64_t kMicrosOfDay = 86'400'000'000;
    for (int i = 0; i < batch.num_columns(); ++i) {
      const arrow::DataType& type = *batch.column_data(i)->type;
      if (type.id() == arrow::Type::DATE32) check_calendar<int32_t>(*batch.column_data(i), kFirstDay, i);
      if (type.id() != arrow::Type::TIMESTAMP) continue;
      const auto unit = static_cast<const arrow::TimestampType&>(type).unit();
      const int64_t divide = unit == arrow::TimeUnit::SECOND ? 1'000'000 : unit == arrow::TimeUnit::MILLI ? 1'000 : 1;
      if (unit != arrow::TimeUnit::NANO) check_calendar<int64_t>(*batch.column_data(i), kFirstDay * kMicrosOfDay / divide, i);
    }
  }

  void plain_schema(bool dictionaries) {
    schema = batches->schema();
    arrow::FieldVector fields;
    bool any_dictionary = false;
    for (const auto& field : schema->fields()) {
      if (dictionaries && field->type()->Equals(*arrow::dictionary(arrow::int32(), arrow::utf8()))) {
        fields.push_back(field->WithType(arrow::utf8()));
        any_dictionary = true;
        continue;
      }
      const auto type = storage_type(field->type());
      if (!type->Equals(*field->type())) has_extensions = true;
      fields.push_back(field->WithType(type));
    }
    if (!int96.empty() && written_by_spark(*reader->parquet_reader()->metadata())) {
      for (const int i : int96)
        fields[static_cast<size_t>(i)] =
            fields[static_cast<size_t>(i)]->WithType(arrow::timestamp(arrow::TimeUnit::MICRO, "UTC"));
    }
    if (has_extensions || any_dictionary || !int96.empty()) schema = arrow::schema(std::move(fields), schema->metadata());
  }
};

ParquetPartReader::ParquetPartReader(const fs::path& file, const std::optional<FilePassword>& password,
                                     const std::string& salt_hex, const PartReaderOptions& options)
    : ParquetPartReader(InputFile::open(file, Links::follow), password, salt_hex, options) {}

ParquetPartReader::ParquetPartReader(std::shared_ptr<const InputFile> opened, const std::optional<FilePassword>& password,
                                     const std::string& salt_hex, const PartReaderOptions& options)
    : impl_(std::make_unique<Impl>()) {
  const fs::path& file = impl_->file = opened->path();
  try {
    // Looks at the footer's parts may throw anywhere, for the footer is decoded when they are asked for.
    impl_->guarded([&] { impl_->open(opened, password, salt_hex, options); });
  } catch (FileError& error) {
    if (error.where().empty()) error.add_where(file.string());  // the salt's error knows no file
    throw;
  }
}

ParquetPartReader::~ParquetPartReader() = default;

const std::shared_ptr<arrow::Schema>& ParquetPartReader::schema() const { return impl_->schema; }
const std::vector<SourceColumn>& ParquetPartReader::source_columns() const { return impl_->columns; }
int64_t ParquetPartReader::rows() const { return impl_->rows; }

std::vector<int64_t> ParquetPartReader::row_group_rows() const {
  return impl_->guarded([&] {
    const parquet::FileMetaData& metadata = *impl_->reader->parquet_reader()->metadata();
    std::vector<int64_t> rows;
    for (int group = 0; group < metadata.num_row_groups(); ++group) rows.push_back(metadata.RowGroup(group)->num_rows());
    return rows;
  });
}

void ParquetPartReader::select_row_groups(int begin, int end) {
  impl_->guarded([&] { impl_->select(begin, end); });
}

std::shared_ptr<arrow::RecordBatch> ParquetPartReader::next() {
  std::shared_ptr<arrow::RecordBatch> batch = impl_->guarded([&] { return impl_->decode(); });
  if (batch && impl_->hybrid_calendar) impl_->check_calendar(*batch);
  if (batch) impl_->rows_read += batch->num_rows();
  if (!batch || !impl_->has_extensions) return batch;
  std::vector<std::shared_ptr<arrow::ArrayData>> columns;
  for (int i = 0; i < batch->num_columns(); ++i) {
    const auto& data = batch->column_data(i);
    const auto& type = impl_->schema->field(i)->type();
    columns.push_back(data->type->id() == arrow::Type::DICTIONARY ? data : with_storage_type(*data, type));
  }
  return arrow::RecordBatch::Make(impl_->schema, batch->num_rows(), std::move(columns));
}

}  // namespace snowmelt
