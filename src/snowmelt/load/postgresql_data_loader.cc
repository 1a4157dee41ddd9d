#include "snowmelt/load/postgresql_data_loader.h"

#include <fmt/format.h>

#include "snowmelt/connections/postgres_connection.h"
#include "snowmelt/error.h"
#include "snowmelt/load/encoder_thread.h"
#include "snowmelt/load/load_mode.h"
#include "snowmelt/load/type_map.h"
#include "snowmelt/log.h"
#include "snowmelt/storage/parquet_file.h"

namespace snowmelt {
namespace {

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
    auto reader = std::make_unique<ParquetPartReader>(first.file, options_.password, first.salt);
    const BatchAdapter adapter = adapter_for(*reader, first.file);

    LoadTransaction transaction(connection_);
    TableLoad table(connection_, target_, options_.mode);
    const std::string export_id = parts_.export_id();
    if (options_.mode == LoadMode::append && !export_id.empty() && table.already_loaded(export_id)) {
      log(LogLevel::warning, "{}: this export ({}) is in the table already and is not appended again", table.display_name(),
          export_id);
      transaction.finish();
      return drain();
    }

    // A table that exists is compared first; one that does not is made first, and then it exists.
    std::string copy;
    if (!table.exists()) {
      const auto planned = plan_new_table(*adapter.schema(), adapter.source_columns(), options_.integers, adapter.types(),
                                          table.extension_types());
      copy = table.prepare(planned, names_of(planned));
    }
    std::vector<EncoderColumn> columns =
        map_columns(*adapter.schema(), adapter.source_columns(), table.columns(), table.display_name());
    if (copy.empty()) copy = table.prepare({}, names_of(columns));
    const int64_t rows = send(copy, {.parts = parts_,
                                     .first = std::move(reader),
                                     .first_file = first.file.string(),
                                     .columns = std::move(columns),
                                     .adapter = adapter,
                                     .policies = options_.progress != nullptr ? options_.progress->policies : own_policies_,
                                     .options = options_});
    table.publish(export_id, rows, adapter.metadata_as_loaded(parts_.metadata()));
    transaction.finish();
    return rows;
  }

 private:
  BatchAdapter adapter_for(const ParquetPartReader& reader, const std::filesystem::path& file) const {
    try {
      return {*reader.schema(), reader.source_columns(), options_.columns};
    } catch (Error& error) {
      error.add_where("file " + file.string());
      throw;
    }
  }

  // Rows of an export that is not loaded again: what the report says about it stays true.
  int64_t drain() {
    while (parts_.next()) {
    }
    return parts_.expected_rows().value_or(0);
  }

  int64_t send(const std::string& copy, EncodeJob job) {
    EncoderThread encoder(std::move(job));
    const auto stream = connection_.copy_in(copy);
    stream->write(CopyEncoder::header());
    while (auto buffer = encoder.next()) {
      stream->write(buffer->bytes());
      if (options_.progress != nullptr) options_.progress->bytes_loaded += static_cast<int64_t>(buffer->size());
      encoder.recycle(std::move(buffer));
    }
    stream->write(CopyEncoder::trailer());
    const int64_t counted = stream->finish();
    check_count(encoder.rows(), counted);
    return counted;
  }

  void check_count(int64_t sent, int64_t counted) const {
    const int64_t expected = parts_.expected_rows().value_or(sent);
    if (sent == counted && sent == expected) return;
    throw VerificationError(
        "load.rows_differ",
        fmt::format("the export has {} rows, the files gave {}, and PostgreSQL counted {}; nothing was loaded", expected, sent,
                    counted),
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
  const auto parts = open_part_source(path);
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
    if (options.stop.stop_requested() && error.kind() == ErrorKind::postgres) {
      throw Interrupted("load.stopped", "the load was stopped; nothing of it stays", {.where = target});
    }
    if (error.where().find(target) == std::string::npos) error.add_where("table " + target);
    throw;
  }
}

}  // namespace snowmelt
