// Parquet → PostgreSQL by binary COPY with our own encoder.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>

#include "snowmelt/config.h"
#include "snowmelt/connections/base_connection.h"
#include "snowmelt/progress.h"
#include "snowmelt/storage/encryption.h"
#include "snowmelt/storage/manifest.h"

namespace arrow {
class Schema;
}

namespace snowmelt {

class TargetSession;

struct LoadOptions {
  LoadMode mode = LoadMode::create;
  ColumnRules rules;
  std::optional<FilePassword> password;  // of encrypted parts
  int64_t memory_limit = 0;              // bytes that reading may take, all connections together; 0: machine_limits.h
  TableProgress* progress = nullptr;
  std::stop_token stop;
  // Several connections fill one table where that pays and the mode allows it: through a staging table, published by one
  // transaction. Only where the load begins its own transaction.
  int connections = 1;
  // Commits when all is loaded, whoever began the transaction; with autocommit a load of its own commits anyway.
  bool commit = false;
};

struct LoadOutcome {
  int64_t rows = 0;
  std::string skipped;  // why nothing was to be done: the export is in the table already
};

// Gives the files of one table one after the other; the first decides the schema, the others must have the same one.
class PartSource {
 public:
  virtual ~PartSource() = default;
  struct Part {
    std::filesystem::path file;
    std::string salt;                         // of the export's encryption, hex; empty when plain
    std::shared_ptr<const InputFile> opened;  // where it was verified: what was hashed is what is read
  };
  // nullopt at the end. May block until the next part is finished; throws what stopped the producer.
  virtual std::optional<Part> next() = 0;
  // Nothing more is wanted: a next() that waits ends, as at the end. From any thread.
  virtual void stop_waiting() noexcept {}
  // Rows the whole set must have, asked after the end; nullopt where nobody knows.
  virtual std::optional<int64_t> expected_rows() const { return std::nullopt; }
  // Of the manifest, asked after the first part; empty where there is none. append loads one export once.
  virtual std::string export_id() const { return {}; }
  // Keys and comments of the source, asked after the end; for tables that the loader makes.
  virtual TableMetadata metadata() const { return {}; }
  // Rows to expect, asked after the first part; nullopt where nobody knows yet.
  virtual std::optional<int64_t> rows_hint() const { return expected_rows(); }
  // One schema for all files, asked before the first part: the widest types where they differ, said in the log. Null: as the
  // first. Throws FileError naming the file whose columns do not go with the others'.
  virtual std::shared_ptr<arrow::Schema> merged_schema(const std::optional<FilePassword>& password) const;
};

// A file, or a directory with a manifest (every part verified against it), or a directory of *.parquet files.
// An export stays locked against another export until the source is destroyed. `password`: of an encrypted export.
std::unique_ptr<PartSource> open_part_source(const std::filesystem::path& path,
                                             const std::optional<FilePassword>& password = std::nullopt);

class PostgreSQLDataLoader {
 public:
  // Makes its own manager, with the seed's warning.
  PostgreSQLDataLoader();
  explicit PostgreSQLDataLoader(std::shared_ptr<ConnectionManager> connection_manager);
  ~PostgreSQLDataLoader();

  // Loads into `target` ("schema.table") in the manager's transaction; the caller commits. With autocommit the load is one
  // transaction of its own, committed. Returns the rows loaded, equal to the server's count. All-or-nothing: on an error
  // nothing of this load stays (the transaction is rolled back to where it was by a savepoint).
  // Throws ValueError (types and values, by column and row), PostgresError, VerificationError, FileError.
  int64_t load_parquet_to_table(const std::filesystem::path& path, const std::string& target, const LoadOptions& options = {});
  int64_t load_parquet_to_table(PartSource& parts, const std::string& target, const LoadOptions& options = {});
  // The same, told apart: loaded, or there already.
  LoadOutcome load(PartSource& parts, const std::string& target, const LoadOptions& options = {});

 private:
  std::shared_ptr<TargetSession> session_;
};

}  // namespace snowmelt
