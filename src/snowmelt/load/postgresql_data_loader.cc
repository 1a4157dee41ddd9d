#include "snowmelt/load/postgresql_data_loader.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "snowmelt/connections/postgres_connection.h"
#include "snowmelt/error.h"
#include "snowmelt/load/load_mode.h"
#include "snowmelt/load/parallel_copy.h"
#include "snowmelt/load/staging_table.h"
#include "snowmelt/load/type_map.h"
#include "snowmelt/log.h"
#include "snowmelt/storage/parquet_file.h"

namespace snowmelt {
namespace {

// Parquet bytes of a table.
constexpr double kParallelBytesMin = 8 << 20;

// A load is all or nothing inside whatever transaction it finds: a savepoint in the caller's, or one of its own.
class LoadTransaction {
 public:
  explicit LoadTransaction(PostgresConnection& connection) : connection_(connection), begun_here_(!connection.in_transaction()) {
    if (begun_here_)
      connection_.begin();
    else
      connection_.execute("savepoint snowmelt_load");
  }
  ~LoadTransaction() {
    if (finished_ || !connection_.is_open()) return;
    try {
      if (begun_here_)
        connection_.rollback();
      else
        connection_.execute("rollback to savepoint snowmelt_load");
    } catch (const std::exception& error) {  // the server rolls back what a broken link leaves
      log(LogLevel::debug, "rolling back the load: {}", error.what());
    }
  }
  // With autocommit the load is its own transaction and is committed; else the caller commits.
  void finish() {
    if (!begun_here_)
      connection_.execute("release savepoint snowmelt_load");
    else if (connection_.autocommit())
      connection_.commit();
    finished_ = true;
  }

 private:
  PostgresConnection& connection_;
  const bool begun_here_;
  bool finished_ = false;
};

template <typename Column>
std::vector<std::string> names_of(const std::vector<Column>& columns) {
  std::vector<std::string> names;
  for (const Column& column : columns) names.push_back(column.name);
  return names;
}

class Load {
 public:
  Load(PostgresConnection& connection, PartSource& parts, const std::string& target, const LoadOptions& options)
      : connection_(connection), parts_(parts), target_(target), options_(options) {}

  int64_t operator()(const PartSource::Part& first) {
    auto reader = open_part(first, options_);
    const auto schema = parts_.merged_schema(options_.password);
    const BatchAdapter adapter = adapter_for(schema ? *schema : *reader->schema(), *reader, first.file.string());
    const std::vector<std::shared_ptr<PostgresConnection>> others = open_others(first, reader->rows());
    PartFeed feed(parts_, options_, first, std::move(reader), others.size() > 1);

    std::optional<StagingTable> staging;  // dropped, if it has to be, after the transaction has let go of it
    LoadTransaction transaction(connection_);
    TableLoad table(connection_, target_, options_.mode);
    const std::string export_id = parts_.export_id();
    if (options_.mode == LoadMode::append && !export_id.empty() && table.already_loaded(export_id)) {
      log(LogLevel::warning, "{}: this export ({}) is in the table already and is not appended again", table.display_name(),
          export_id);
      transaction.finish();
      return drain();
    }
    if (!others.empty() && table.can_stage()) staging.emplace(*others.front(), table.schema(), table.display_name());

    // A table that exists is compared first; one that does not is made first, and then it exists.
    const auto prepare = [&](const std::vector<NewColumn>& planned, const std::vector<std::string>& columns) {
      return staging ? table.stage(*staging, planned, columns) : table.prepare(planned, columns);
    };
    std::vector<std::string> columns;
    std::string copy;
    if (!table.exists()) {
      const auto planned = plan_new_table(*adapter.schema(), adapter.source_columns(), options_.rules.integers, adapter.types(),
                                          table.extension_types());
      columns = names_of(planned);
      copy = prepare(planned, columns);
    } else {
      columns = names_of(map_columns(*adapter.schema(), adapter.source_columns(), table.columns(), table.display_name()));
      copy = prepare({}, columns);
    }
    const FilePlanner planner = [&](const ParquetPartReader& file_reader, const std::string& file) {
      return plan_file(file_reader, file, table, columns);
    };
    const EncodeJob job{.parts = feed,
                        .plan = planner,
                        .policies = options_.progress != nullptr ? options_.progress->policies : own_policies_,
                        .options = options_};
    const CopyCount count = staging ? copy_parts_in_parallel(others, copy, job) : copy_parts(connection_, copy, job);
    check_count(count);
    table.publish(export_id, count.counted, adapter.metadata_as_loaded(parts_.metadata()));
    transaction.finish();
    if (staging) staging->published();
    return count.counted;
  }

 private:
  BatchAdapter adapter_for(const arrow::Schema& schema, const ParquetPartReader& reader, const std::string& file) const {
    try {
      return {schema, reader.source_columns(), options_.rules};
    } catch (Error& error) {
      error.add_where("file " + file);
      throw;
    }
  }

  std::shared_ptr<const FilePlan> plan_file(const ParquetPartReader& reader, const std::string& file, const TableLoad& table,
                                            const std::vector<std::string>& columns) const {
    auto plan = std::make_shared<FilePlan>(FilePlan{adapter_for(*reader.schema(), reader, file), {}});
    std::vector<EncoderColumn> mapped =
        map_columns(*plan->adapter.schema(), plan->adapter.source_columns(), table.columns(), table.display_name());
    for (const std::string& name : columns) {
      const auto found =
          std::find_if(mapped.begin(), mapped.end(), [&](const EncoderColumn& column) { return column.name == name; });
      if (found != mapped.end()) plan->columns.push_back(*found);
    }
    if (plan->columns.size() != columns.size() || mapped.size() != columns.size()) {
      throw FileError("parquet.schema_differs", "its columns are not those of the first file",
                      {.where = file, .hint = "load the files one by one"});
    }
    return plan;
  }

  // Where several connections pay: below, opening them and the staging table's own commits cost more than they save.
  std::vector<std::shared_ptr<PostgresConnection>> open_others(const PartSource::Part& first, int64_t first_rows) const {
    std::vector<std::shared_ptr<PostgresConnection>> others;
    if (options_.connections < 2 || !options_.open_another || connection_.in_transaction()) return others;
    std::error_code unknown;
    const auto bytes = static_cast<double>(std::filesystem::file_size(first.file, unknown));
    const auto rows = static_cast<double>(parts_.rows_hint().value_or(0));
    if (unknown || first_rows == 0 || bytes / static_cast<double>(first_rows) * rows < kParallelBytesMin) return others;
    while (static_cast<int>(others.size()) < options_.connections) {
      try {
        others.push_back(options_.open_another());
      } catch (const Error& error) {
        log(LogLevel::warning, "{}: {} of {} load connections could be opened: {}", target_, others.size(), options_.connections,
            error.message());
        break;
      }
    }
    if (others.size() < 2) others.clear();  // one is what there is already
    return others;
  }

  // Rows of an export that is not loaded again: what the report says about it stays true.
  int64_t drain() {
    while (parts_.next()) {
    }
    return parts_.expected_rows().value_or(0);
  }

  void check_count(const CopyCount& count) const {
    const int64_t expected = parts_.expected_rows().value_or(count.sent);
    if (count.sent == count.counted && count.sent == expected) return;
    throw VerificationError(
        "load.rows_differ",
        fmt::format("the export has {} rows, the files gave {}, and PostgreSQL counted {}; nothing was loaded", expected,
                    count.sent, count.counted),
        {.where = target_, .hint = "export the table again"});
  }

  PostgresConnection& connection_;
  PartSource& parts_;
  const std::string& target_;
  const LoadOptions& options_;
  PolicyCounts own_policies_;
};

}  // namespace

PostgreSQLDataLoader::PostgreSQLDataLoader()
    : own_manager_(std::make_unique<PostgresConnectionManager>(/*autocommit=*/true)), connection_manager_(own_manager_.get()) {
  log_message(LogLevel::warning, kNoManagerWarning);
}
PostgreSQLDataLoader::PostgreSQLDataLoader(ConnectionManager& connection_manager) : connection_manager_(&connection_manager) {}
PostgreSQLDataLoader::~PostgreSQLDataLoader() = default;

int64_t PostgreSQLDataLoader::load_parquet_to_table(const std::filesystem::path& path, const std::string& target,
                                                    const LoadOptions& options) {
  const auto parts = open_part_source(path, options.password);
  return load_parquet_to_table(*parts, target, options);
}

int64_t PostgreSQLDataLoader::load_parquet_to_table(PartSource& parts, const std::string& target, const LoadOptions& options) {
  // Before the connection is taken: the first part of a run may be minutes away, and what was alive then may not be now.
  const auto first = parts.next();
  if (!first) throw FileError("load.no_files", "there is no Parquet file to load", {.where = target});
  const auto connection = std::dynamic_pointer_cast<PostgresConnection>(connection_manager_->get_connection());
  if (connection == nullptr) {
    throw UsageError("load.not_postgres", "the loader's connection manager gives no PostgreSQL connection",
                     {.hint = "pass a PostgresConnectionManager"});
  }
  // A statement that waits (for a lock, for an index) is canceled on the server when the caller stops.
  const std::stop_callback cancel(options.stop, [&] { connection->cancel(); });
  try {
    return Load(*connection, parts, target, options)(*first);
  } catch (Error& error) {
    // Whatever fails while the work is being stopped fails because of that; only a COMMIT in doubt may have kept something.
    if (options.stop.stop_requested() && error.kind() != ErrorKind::commit_in_doubt && error.kind() != ErrorKind::interrupted) {
      throw Interrupted("load.stopped", "the load was stopped; nothing of it stays", {.where = target});
    }
    if (error.where().find(target) == std::string::npos) error.add_where("table " + target);
    throw;
  }
}

}  // namespace snowmelt
