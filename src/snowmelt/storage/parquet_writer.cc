#include <arrow/io/interfaces.h>
#include <arrow/util/key_value_metadata.h>
#include <parquet/arrow/schema.h>
#include <parquet/arrow/writer.h>
#include <parquet/encryption/encryption.h>
#include <parquet/properties.h>

#include <nlohmann/json.hpp>
#include <utility>

#include "snowmelt/error.h"
#include "snowmelt/storage/durable_file.h"
#include "snowmelt/storage/parquet_file.h"

namespace snowmelt {
namespace {

constexpr const char* kFormatVersion = "1";

// Arrow's view of a DurableFile. An error of ours does not survive Arrow's Status: it is kept and thrown by the writer.
class DurableOutputStream : public arrow::io::OutputStream {
 public:
  explicit DurableOutputStream(DurableFile& file) : file_(file) {}

  arrow::Status Write(const void* data, int64_t size) override {
    try {
      file_.write(data, static_cast<size_t>(size));
      return arrow::Status::OK();
    } catch (...) {
      error_ = std::current_exception();
      return arrow::Status::IOError("write failed");
    }
  }
  arrow::Result<int64_t> Tell() const override { return file_.size(); }
  arrow::Status Close() override {
    closed_ = true;
    return arrow::Status::OK();
  }
  bool closed() const override { return closed_; }
  const std::exception_ptr& error() const { return error_; }

 private:
  DurableFile& file_;
  std::exception_ptr error_;
  bool closed_ = false;
};

// Measured with TPC-H lineitem SF1, zstd level 1, two threads, medians (whole export CPU-s; MB; reading back CPU-s):
//   integers plain 4.2, 173, 1.45; dictionary 4.2, 185; byte-stream split 3.0, 146, 0.90; delta 3.1, 154, 0.95.
// Delta it is: byte-stream split of integers is of 2024, and readers of before refuse the file.
bool is_stored_as_integer(const arrow::DataType& type) {
  switch (type.id()) {
    case arrow::Type::INT16:
    case arrow::Type::INT32:
    case arrow::Type::INT64:
    case arrow::Type::DATE32:
    case arrow::Type::TIME64:
    case arrow::Type::TIMESTAMP:
    case arrow::Type::DECIMAL32:
    case arrow::Type::DECIMAL64: return true;
    default: return false;
  }
}

bool is_text(const arrow::DataType& type) { return type.id() == arrow::Type::STRING || type.id() == arrow::Type::BINARY; }

// A dictionary pays for flags and names and is given up early for comments: with Parquet's 1 MiB, lineitem's comments
// were hashed for half of each chunk, and the file grew by 3 MB.
constexpr int64_t kDictionaryBytesMax = 256 << 10;
// Parquet C++ ends a page at 20,000 rows by default; zstd gains by longer ones. The limit of 1 MiB a page stays.
constexpr int64_t kPageRowsMax = 128 << 10;

std::shared_ptr<parquet::WriterProperties> writer_properties(const arrow::Schema& schema, const PartWriterOptions& options) {
  parquet::WriterProperties::Builder builder;
  builder.version(parquet::ParquetVersion::PARQUET_2_6)
      ->compression(parquet::Compression::ZSTD)
      ->compression_level(options.compression_level)
      ->created_by(kWriterName)
      ->enable_store_decimal_as_integer()
      ->enable_page_checksum()
      ->disable_dictionary()
      ->dictionary_pagesize_limit(kDictionaryBytesMax)
      ->max_rows_per_page(kPageRowsMax);
  for (const auto& field : schema.fields()) {
    const auto path = std::make_shared<parquet::schema::ColumnPath>(std::vector<std::string>{field->name()});
    if (is_text(*field->type())) builder.enable_dictionary(path);
    if (is_stored_as_integer(*field->type())) builder.encoding(path, parquet::Encoding::DELTA_BINARY_PACKED);
  }
  if (options.key) {
    parquet::FileEncryptionProperties::Builder encryption(arrow::util::SecureString(std::string(options.key->bytes)));
    encryption.footer_key_metadata(options.key->salt_hex);
    builder.encryption(encryption.build());
  }
  return builder.build();
}

std::shared_ptr<arrow::KeyValueMetadata> file_metadata(const std::vector<SourceColumn>& columns,
                                                       const PartWriterOptions& options) {
  auto list = nlohmann::ordered_json::array();
  for (const SourceColumn& column : columns) {
    list.push_back({{"name", column.name}, {"source_type", column.source_type.text()}, {"nullable", column.nullable}});
  }
  auto metadata = std::make_shared<arrow::KeyValueMetadata>();
  metadata->Append("snowmelt.format_version", kFormatVersion);
  metadata->Append("snowmelt.columns", list.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace));
  if (!options.query_id.empty()) metadata->Append("snowmelt.query_id", options.query_id);
  return metadata;
}

}  // namespace

struct ParquetPartWriter::Impl {
  Impl(const std::filesystem::path& directory, std::string name, std::shared_ptr<arrow::Schema> schema_in,
       const std::vector<SourceColumn>& columns_in, const PartWriterOptions& options)
      : path(directory / name),
        file_name(std::move(name)),
        file(directory / (file_name + ".tmp"), path, options.permissions),
        sink(std::make_shared<DurableOutputStream>(file)),
        schema(std::move(schema_in)),
        metadata(file_metadata(columns_in, options)) {
    if (static_cast<size_t>(schema->num_fields()) != columns_in.size()) {
      throw BugError("parquet.columns", "a part's columns do not describe its schema", {.where = path.string()});
    }
    // No thread pool of Arrow's: each worker encodes on its own thread.
    const auto arrow_properties = parquet::ArrowWriterProperties::Builder().set_use_threads(false)->build();
    writer = check(guarded([&] {
      return parquet::arrow::FileWriter::Open(*schema, arrow::default_memory_pool(), sink, writer_properties(*schema, options),
                                              arrow_properties);
    }));
  }

  // Parquet's lower half throws, its upper half returns a Status; both end as errors of ours.
  template <typename Call>
  auto guarded(Call&& call) -> decltype(call()) {
    try {
      return call();
    } catch (const parquet::ParquetException& exception) {
      return arrow::Status::IOError(exception.what());
    }
  }
  void check(const arrow::Status& status) {
    if (status.ok()) return;
    if (sink->error()) std::rethrow_exception(sink->error());
    if (status.IsOutOfMemory()) throw FileError("parquet.memory", "out of memory while writing a part", {.where = path.string()});
    throw BugError("parquet.write", "the Parquet writer refused the data: " + status.message(), {.where = path.string()});
  }
  template <typename T>
  T check(arrow::Result<T>&& result) {
    check(result.status());
    return std::move(result).ValueUnsafe();
  }

  std::filesystem::path path;
  std::string file_name;
  DurableFile file;
  std::shared_ptr<DurableOutputStream> sink;
  std::shared_ptr<arrow::Schema> schema;
  std::shared_ptr<arrow::KeyValueMetadata> metadata;
  std::unique_ptr<parquet::arrow::FileWriter> writer;
  int64_t rows = 0;
};

std::string parquet_type_text(const arrow::Field& field) {
  const arrow::Schema schema({arrow::field(field.name(), field.type(), field.nullable())});
  std::shared_ptr<parquet::SchemaDescriptor> described;
  const arrow::Status status = parquet::arrow::ToParquetSchema(&schema, *writer_properties(schema, {}), &described);
  if (!status.ok()) throw BugError("parquet.schema", status.message());
  std::string text;
  for (int i = 0; i < described->num_columns(); ++i) {
    const parquet::ColumnDescriptor& column = *described->Column(i);
    text += parquet::TypeToString(column.physical_type());
    std::string logical = column.logical_type()->is_none() ? "" : " " + column.logical_type()->ToString();
    // Arrow's own bookkeeping behind a timestamp's unit.
    if (const size_t rest = logical.find(", is_from_converted_type"); rest != std::string::npos)
      logical = logical.substr(0, rest) + ")";
    text += logical;
    if (column.max_repetition_level() > 0) text = "LIST of " + text;
  }
  return text;
}

ParquetPartWriter::ParquetPartWriter(std::filesystem::path directory, std::string file, std::shared_ptr<arrow::Schema> schema,
                                     std::vector<SourceColumn> columns, PartWriterOptions options)
    : impl_(std::make_unique<Impl>(directory, std::move(file), std::move(schema), columns, options)) {}

ParquetPartWriter::~ParquetPartWriter() = default;

void ParquetPartWriter::write_row_group(int64_t rows, const ColumnSource& column) {
  if (rows == 0) return;  // a row group of no rows says nothing
  impl_->check(impl_->guarded([&] { return impl_->writer->NewRowGroup(); }));
  for (int i = 0; i < impl_->schema->num_fields(); ++i) {
    const std::shared_ptr<arrow::ChunkedArray> data = column(i);
    if (data->length() != rows)
      throw BugError("parquet.rows", "a column is not as long as its row group", {.where = impl_->path.string()});
    impl_->check(impl_->guarded([&] { return impl_->writer->WriteColumnChunk(data); }));
  }
  impl_->rows += rows;
}

void ParquetPartWriter::write_row_group(const std::vector<std::shared_ptr<arrow::RecordBatch>>& batches) {
  int64_t rows = 0;
  for (const auto& batch : batches) rows += batch->num_rows();
  write_row_group(rows, [&](int field) {
    arrow::ArrayVector arrays;
    for (const auto& batch : batches) arrays.push_back(batch->column(field));
    return std::make_shared<arrow::ChunkedArray>(std::move(arrays), impl_->schema->field(field)->type());
  });
}

int64_t ParquetPartWriter::bytes_written() const { return impl_->file.size(); }
int64_t ParquetPartWriter::rows_written() const { return impl_->rows; }

PartInfo ParquetPartWriter::finish() {
  impl_->check(impl_->guarded([&] { return impl_->writer->AddKeyValueMetadata(impl_->metadata); }));
  impl_->check(impl_->guarded([&] { return impl_->writer->Close(); }));
  impl_->writer.reset();
  const int64_t bytes = impl_->file.size();
  return {impl_->file_name, impl_->rows, bytes, impl_->file.publish()};
}

}  // namespace snowmelt
