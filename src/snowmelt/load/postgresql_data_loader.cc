#include "snowmelt/load/postgresql_data_loader.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <utility>

#include "snowmelt/connections/target_session.h"
#include "snowmelt/error.h"
#include "snowmelt/load/load_mode.h"
#include "snowmelt/load/parallel_copy.h"
#include "snowmelt/load/part_source.h"
#include "snowmelt/load/staging_table.h"
#include "snowmelt/load/type_map.h"
#include "snowmelt/log.h"
#include "snowmelt/storage/parquet_file.h"

namespace snowmelt {
namespace {

// Parquet bytes of a table.
constexpr double kParallelBytesMin = 8 << 20;
// A pooler whose servers are all in use answers when one is free; a load with fewer connections is better than to wait for that.
constexpr std::chrono::seconds kAnotherConnectionWithin{5};

ConnectionWaiter waiter_of(const LoadOptions& options) {
  return {.stop = options.stop, .note = options.progress != nullptr ? &options.progress->waiting : nullptr};
}

// A load is all or nothing inside whatever transaction it finds: a savepoint in the caller's, or one of its own.
class LoadTransaction {
 public:
  explicit LoadTransaction(PostgresConnection& connection) : connection_(connection), begun_here_(!connection.in_transaction()) {
    if (begun_here_)
      begin_read_committed(connection_);
    else
      connection_.execute("savepoint snowmelt_load");
  }
  bool is_own() const { return begun_here_; }
  void roll_back() noexcept {
    if (!begun_here_ && !connection_.is_open()) return;
    try {
      if (begun_here_)
        connection_.rollback();  // of a broken link too: what failed has been told, and the next load begins anew
      else
        connection_.rollback_to("snowmelt_load");
    } catch (const std::exception& error) {
      log(LogLevel::debug, "rolling back the load: {}", error.what());
    }
  }
  // The one place that commits what was loaded.
  void finish(LoadSession& session, bool commit) {
    if (begun_here_ && (commit || connection_.autocommit())) return connection_.commit();
    session.give_back();
    if (!begun_here_) connection_.execute("release savepoint snowmelt_load");
    if (commit) connection_.commit();
  }

 private:
  PostgresConnection& connection_;
  const bool begun_here_;
};

template <typename Column>
std::vector<std::string> names_of(const std::vector<Column>& columns) {
  std::vector<std::string> names;
  for (const Column& column : columns) names.push_back(column.name);
  return names;
}

class Load {
 public:
  Load(TargetSession& session, PostgresConnection& connection, PartSource& parts, const std::string& target,
       const LoadOptions& options)
      : session_(session),
        connection_(connection),
        settings_(session.settings()),
        parts_(parts),
        target_(target),
        options_(options) {}

  LoadOutcome operator()(const PartSource::Part& first) {
    auto reader = open_part(first, options_);
    const auto schema = parts_.merged_schema(options_.password);
    const BatchAdapter adapter = adapter_for(schema ? *schema : *reader->schema(), *reader, first.file.string());
    const bool is_append = options_.mode == LoadMode::append && !parts_.export_id().empty();
    const LoadWaiter waiter{.progress = options_.progress, .stop = options_.stop};
    if (is_append && !connection_.in_transaction()) make_ledger(connection_, settings_, waiter);
    refuse_old_snapshot();

    LoadTransaction transaction(connection_);
    try {
      LoadSession session(connection_, settings_, waiter);
      if (transaction.is_own()) session.lift_timeouts();
      const LoadOutcome outcome = load(session, adapter, first, std::move(reader));
      transaction.finish(session, options_.commit);
      return outcome;
    } catch (...) {
      transaction.roll_back();  // lets go of the locks that stand before the staging table
      if (staging_) staging_->discard();
      throw;
    }
  }

 private:
  // In a caller's REPEATABLE READ transaction nobody sees what others have committed to the table since, and it would be lost.
  void refuse_old_snapshot() {
    if (!connection_.in_transaction() || options_.mode == LoadMode::append) return;
    const std::string level = only_value(connection_.execute("show transaction_isolation"));
    if (level == "read committed" || level == "read uncommitted") return;
    throw UsageError("load.old_snapshot",
                     fmt::format("the transaction is {}: what others commit to the table would not be seen", level),
                     {.where = target_, .hint = "begin it as read committed, or load outside a transaction"});
  }

  using Connections = std::vector<std::shared_ptr<PostgresConnection>>;

  LoadOutcome load(LoadSession& session, const BatchAdapter& adapter, const PartSource::Part& first,
                   std::unique_ptr<ParquetPartReader> reader) {
    TableLoad table(session, target_, options_.mode);
    table.take_turn();
    Connections others = session.is_own() && table.can_stage() ? open_others(first, reader->rows()) : Connections();
    table.lock(others.empty() ? nullptr : others.front().get());
    if (!table.can_stage()) others.clear();

    const std::string export_id = parts_.export_id();
    if (options_.mode == LoadMode::append && !export_id.empty() && table.already_loaded(export_id)) {
      drain();
      return {.skipped = fmt::format("this export ({}) is in the table already", export_id)};
    }
    std::vector<std::string> columns;
    const std::string copy = prepare(table, adapter, others, columns);
    PartFeed feed(parts_, options_, first, std::move(reader), others.size() > 1);
    const FilePlanner planner = [&](const ParquetPartReader& file_reader, const std::string& file) {
      return plan_file(file_reader, file, table, columns);
    };
    const EncodeJob job{.parts = feed,
                        .plan = planner,
                        .policies = options_.progress != nullptr ? options_.progress->policies : own_policies_,
                        .options = options_};
    const CopyCount count = staging_ ? copy_parts_in_parallel(others, copy, job) : copy_parts(connection_, copy, job);
    check_count(count, table);
    table.publish(export_id, count.counted, adapter.metadata_as_loaded(parts_.metadata()));
    return {.rows = count.counted};
  }

  // The statement for COPY, and the columns it is for. A table that exists is compared first; one that does not is made first.
  std::string prepare(TableLoad& table, const BatchAdapter& adapter, const Connections& others,
                      std::vector<std::string>& columns) {
    constexpr int kTriesMost = 3;
    for (int tries = 1;; ++tries) {
      std::vector<NewColumn> planned;
      if (table.exists()) {
        columns = names_of(map_columns(*adapter.schema(), adapter.source_columns(), table.columns(), table.display_name()));
      } else {
        planned = plan_new_table(*adapter.schema(), adapter.source_columns(), options_.rules.integers, adapter.types(),
                                 table.extension_types());
        columns = names_of(planned);
      }
      if (!others.empty()) {
        std::string copy;
        staging_ = table.stage(others.front(), planned, columns, copy);
        return copy;
      }
      if (auto copy = table.prepare(planned, columns)) return *copy;
      if (tries == kTriesMost)
        throw LockedError("load.overtaken", "other sessions make and drop the table all the time; nothing was loaded",
                          {.where = target_, .hint = "run again when they are done"});
      table.lock();  // somebody else has made it meanwhile
    }
  }

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
  Connections open_others(const PartSource::Part& first, int64_t first_rows) const {
    Connections others;
    if (options_.connections < 2 || !session_.has_others()) return others;
    std::error_code unknown;
    const auto bytes = static_cast<double>(std::filesystem::file_size(first.file, unknown));
    const auto rows = static_cast<double>(parts_.rows_hint().value_or(0));
    if (unknown || first_rows == 0 || bytes / static_cast<double>(first_rows) * rows < kParallelBytesMin) return others;
    std::string why = "no server connection was free in time";
    while (static_cast<int>(others.size()) < options_.connections) {
      std::shared_ptr<PostgresConnection> another;
      try {
        another = session_.another(kAnotherConnectionWithin, options_.stop);
      } catch (const Error& error) {
        if (options_.stop.stop_requested()) throw;
        why = error.message();
      }
      if (another == nullptr) {
        log(LogLevel::warning, "{}: {} of {} load connections could be opened: {}", target_, others.size(), options_.connections,
            why);
        break;
      }
      another->set_waiter(waiter_of(options_));
      begin_load(*another);
      others.push_back(std::move(another));
    }
    if (others.size() < 2) others.clear();  // one is what there is already
    return others;
  }

  // Rows of an export that is not loaded again: its report is still the whole export's.
  void drain() {
    while (parts_.next()) {
    }
  }

  void check_count(const CopyCount& count, TableLoad& table) const {
    const int64_t expected = parts_.expected_rows().value_or(count.sent);
    if (count.sent == count.counted && count.sent == expected) return;
    const std::string triggers = count.counted < count.sent && count.sent == expected ? table.skipping_triggers() : "";
    if (!triggers.empty()) {
      throw PostgresError(
          "load.rows_skipped",
          fmt::format("trigger {} left out {} of {} rows; nothing was loaded", triggers, count.sent - count.counted, count.sent),
          {.where = target_,
           .hint = fmt::format("disable it for the load (alter table {} disable trigger …), or load into a table without it",
                               table.target().qualified)});
    }
    throw VerificationError(
        "load.rows_differ",
        fmt::format("the export has {} rows, the files gave {}, and PostgreSQL counted {}; nothing was loaded", expected,
                    count.sent, count.counted),
        {.where = target_, .hint = "export the table again"});
  }

  TargetSession& session_;
  PostgresConnection& connection_;
  const LoadSettings settings_;
  PartSource& parts_;
  const std::string& target_;
  const LoadOptions& options_;
  PolicyCounts own_policies_;
  std::unique_ptr<StagingTable> staging_;
};

}  // namespace

PostgreSQLDataLoader::PostgreSQLDataLoader() {
  session_ = target_session(std::make_shared<PostgresConnectionManager>(/*autocommit=*/true));
  log_message(LogLevel::warning, kNoManagerWarning);
}
PostgreSQLDataLoader::PostgreSQLDataLoader(std::shared_ptr<ConnectionManager> connection_manager)
    : session_(target_session(std::move(connection_manager))) {}
PostgreSQLDataLoader::~PostgreSQLDataLoader() = default;

int64_t PostgreSQLDataLoader::load_parquet_to_table(const std::filesystem::path& path, const std::string& target,
                                                    const LoadOptions& options) {
  const LockWait wait{.most = session_->settings().wait,
                      .stop = options.stop,
                      .note = options.progress != nullptr ? &options.progress->waiting : nullptr};
  const auto parts = open_part_source(path, options.password, wait);
  return load_parquet_to_table(*parts, target, options);
}

int64_t PostgreSQLDataLoader::load_parquet_to_table(PartSource& parts, const std::string& target, const LoadOptions& options) {
  const LoadOutcome outcome = load(parts, target, options);
  if (!outcome.skipped.empty()) log(LogLevel::warning, "{}: {} and is not added again", target, outcome.skipped);
  return outcome.rows;
}

LoadOutcome PostgreSQLDataLoader::load(PartSource& parts, const std::string& target, const LoadOptions& options) {
  // Before the connection is taken: the first part of a run may be minutes away, and what was alive then may not be now.
  const auto first = parts.next();
  if (!first) throw FileError("load.no_files", "there is no Parquet file to load", {.where = target});
  const auto connection = session_->connection();
  const WaitScope waiting(*connection, waiter_of(options));
  try {
    return Load(*session_, *connection, parts, target, options)(*first);
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
