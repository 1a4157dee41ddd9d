// Parquet parts: written under a temporary name and kept only by finish(); read back batch by batch.
#pragma once

#include <arrow/api.h>

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "snowmelt/file_permissions.h"
#include "snowmelt/storage/encryption.h"
#include "snowmelt/storage/input_file.h"
#include "snowmelt/storage/manifest.h"

namespace snowmelt {

struct PartWriterOptions {
  int compression_level = 1;  // zstd
  std::optional<EncryptionKey> key;
  std::string query_id;  // recorded in the file (key "snowmelt.query_id") when known
  FilePermissions permissions = FilePermissions::private_;
};

// One part file. Destroyed before finish() it removes what it wrote.
class ParquetPartWriter {
 public:
  // `columns` describe `schema`'s fields one to one. Writes <directory>/<file>.tmp.
  ParquetPartWriter(std::filesystem::path directory, std::string file, std::shared_ptr<arrow::Schema> schema,
                    std::vector<SourceColumn> columns, PartWriterOptions options);
  ~ParquetPartWriter();
  ParquetPartWriter(const ParquetPartWriter&) = delete;
  ParquetPartWriter& operator=(const ParquetPartWriter&) = delete;

  // One row group from these batches (a chunk of the result), which share the schema. Throws FileError (disk full, …).
  void write_row_group(const std::vector<std::shared_ptr<arrow::RecordBatch>>& batches);
  // The same column by column: `column(i)` is asked once for each field in order and may be freed before the next one, so
  // that a chunk is never in memory as a whole in its converted form. All columns have `rows` rows.
  using ColumnSource = std::function<std::shared_ptr<arrow::ChunkedArray>(int field)>;
  void write_row_group(int64_t rows, const ColumnSource& column);
  int64_t bytes_written() const;
  int64_t rows_written() const;

  // Footer, fsync, digest, rename; durable once the manifest is.
  PartInfo finish();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// What a field is in our files: "INT64 Decimal(precision=12, scale=2)", for docs/types.md.
std::string parquet_type_text(const arrow::Field& field);

struct PartReaderOptions {
  int64_t batch_rows = 0;  // 0: some megabytes' worth, at most 16,384
  // Bytes for what is decoded, together with the batches given out; 0: default_memory_limit(). A page or a row that needs more is
  // tried with twice that limit, then refused.
  int64_t memory_limit = 0;
  // utf8 columns that the file keeps as dictionaries throughout come as dictionary<int32, utf8>; schema() says utf8 all the same.
  bool dictionaries = false;
};

// Reads a Parquet file, ours or another writer's, in batches. Decimals come in their smallest Arrow carrier
// (decimal32/64/128/256).
class ParquetPartReader {
 public:
  // Throws FileError naming the file: missing, cut short, not Parquet, encrypted without or with the wrong password, plain where
  // a password is given: who gives one wants to know that nobody else made the file. An empty `salt_hex` means the one that an
  // encrypted file carries itself.
  ParquetPartReader(std::shared_ptr<const InputFile> file, const std::optional<FilePassword>& password,
                    const std::string& salt_hex, const PartReaderOptions& options = {});
  // Opens it; a link is followed.
  ParquetPartReader(const std::filesystem::path& file, const std::optional<FilePassword>& password, const std::string& salt_hex,
                    const PartReaderOptions& options = {});
  ~ParquetPartReader();

  const std::shared_ptr<arrow::Schema>& schema() const;
  // From the key "snowmelt.columns". Of another writer's file: UUID, VARIANT (JSON), ENUM and INTERVAL where Parquet's logical
  // types say so, else empty words; no columns at all where none says anything.
  const std::vector<SourceColumn>& source_columns() const;
  int64_t rows() const;
  // Of each row group.
  std::vector<int64_t> row_group_rows() const;
  // next() gives these row groups only, [begin, end). Before the first next().
  void select_row_groups(int begin, int end);
  // nullptr at the end. Throws FileError for a damaged file, and for a row beyond the memory limit.
  std::shared_ptr<arrow::RecordBatch> next();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace snowmelt
