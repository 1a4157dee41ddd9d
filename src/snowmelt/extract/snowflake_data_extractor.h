// Snowflake → Parquet parts. Data plane of design D1/D2: each thread takes a chunk end to end.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "snowmelt/config.h"
#include "snowmelt/connections/source_session.h"
#include "snowmelt/extract/work_budget.h"
#include "snowmelt/progress.h"
#include "snowmelt/storage/manifest.h"

namespace arrow {
class Schema;
}

namespace snowmelt {

class DirectoryLock;

// From metadata, never by a scan; nullopt where the role may not look or the object has none (a view).
struct TableSize {
  std::optional<int64_t> rows;
  std::optional<int64_t> bytes;
};

// Throws ValueError where the columns that are about to be exported cannot go where they should.
using ColumnCheck = std::function<void(const arrow::Schema& schema, const std::vector<SourceColumn>& columns)>;

struct ExtractOptions : ExportConfig {
  std::optional<FilePassword> password = {};  // encrypts the parts
  std::shared_ptr<WorkBudget> budget = {};    // shared by the tables of a run; null: one of this table's own
  std::shared_ptr<TableProgress> progress = {};
  ColumnCheck check_columns = {};  // called once, before the first chunk
  std::stop_token stop = {};
  std::chrono::milliseconds wait{0};  // for another run in the export directory
};

// An extraction under way. Its workers started at the call; destroying it early stops them and leaves no manifest.
class Extraction {
 public:
  struct Impl;
  explicit Extraction(std::unique_ptr<Impl> impl);
  Extraction(Extraction&&) noexcept;
  ~Extraction();

  // The next finished part, in the order of finishing; nullopt once all are out and the manifest is published.
  // Throws what stopped the extraction.
  std::optional<PartInfo> next();
  // Drains what is left and gives the published manifest.
  const Manifest& finish();
  // Where the parts lie: <directory>/<source>.
  const std::filesystem::path& directory() const;
  // Of the encryption, hex; empty for plain parts.
  const std::string& salt() const;
  // The manifest's export_id, known from the start.
  const std::string& export_id() const;
  // Of the directory. Whoever keeps it from the start on holds it, shared from the publication on, while parts are loaded.
  std::shared_ptr<DirectoryLock> lock() const;

 private:
  std::unique_ptr<Impl> impl_;
};

class SnowflakeDataExtractor {
 public:
  // Makes its own manager, with the seed's warning: old callers go on working, one login each.
  SnowflakeDataExtractor();
  // Several extractors may share a manager. It lives as long as an extraction needs it.
  explicit SnowflakeDataExtractor(std::shared_ptr<ConnectionManager> connection_manager);
  ~SnowflakeDataExtractor();

  TableSize estimate_table_size(const std::string& source);

  // Runs `select * from <source>` (or the table's own query) and starts the workers. Type problems that the row type
  // shows, and values beyond their type, throw ValueError by column name.
  Extraction extract_table_chunks(const TableConfig& table, const ExtractOptions& options);
  Extraction extract_table_chunks(const std::string& source, const ExtractOptions& options = {});

 private:
  std::shared_ptr<SourceSession> session_;
};

}  // namespace snowmelt
