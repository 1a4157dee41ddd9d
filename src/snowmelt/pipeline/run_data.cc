#include "snowmelt/pipeline/run_data.h"

#include <fmt/format.h>

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <filesystem>
#include <mutex>
#include <stop_token>
#include <system_error>
#include <thread>

#include "snowmelt/connections/target_session.h"
#include "snowmelt/error.h"
#include "snowmelt/extract/snowflake_data_extractor.h"
#include "snowmelt/load/target_check.h"
#include "snowmelt/log.h"
#include "snowmelt/pipeline/import_data.h"
#include "snowmelt/pipeline/run_record.h"
#include "snowmelt/pipeline/table_loop.h"
#include "snowmelt/storage/directory_lock.h"
#include "snowmelt/storage/manifest.h"

namespace snowmelt {
namespace {

// Parts on their way from the exporter to the loader of one table. They are files: the queue costs no memory.
class PartQueue : public PartSource {
 public:
  explicit PartQueue(std::shared_ptr<const TableProgress> progress) : progress_(std::move(progress)) {}
  // Before the first part, which the loader waits for.
  void set_export(std::string id, std::shared_ptr<DirectoryLock> lock) {
    export_id_ = std::move(id);
    lock_ = std::move(lock);
  }
  // Once the load has ended: the directory is free for others.
  void release() {
    std::lock_guard lock(mutex_);
    lock_.reset();
  }
  void push(Part part) {
    std::lock_guard lock(mutex_);
    parts_.push_back(std::move(part));
    changed_.notify_all();
  }
  void finish(int64_t rows, TableMetadata metadata) {
    std::lock_guard lock(mutex_);
    rows_ = rows;
    metadata_ = std::move(metadata);
    done_ = true;
    changed_.notify_all();
  }
  void fail(std::exception_ptr error) {
    std::lock_guard lock(mutex_);
    error_ = std::move(error);
    done_ = true;
    changed_.notify_all();
  }

  std::optional<Part> next() override {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return !parts_.empty() || done_ || unwanted_; });
    if (unwanted_) return std::nullopt;
    if (error_) std::rethrow_exception(error_);  // first: a failed export has taken its parts away
    if (parts_.empty()) return std::nullopt;
    Part part = std::move(parts_.front());
    parts_.pop_front();
    given_ = part.file;
    lock.unlock();
    part.opened = InputFile::open(part.file, Links::refuse);
    return part;
  }
  void stop_waiting() noexcept override {
    const std::lock_guard lock(mutex_);
    unwanted_ = true;
    changed_.notify_all();
  }
  // After the loader has failed: what ended the export, where that took the given part away under the loader. Null: the
  // loader's failure is its own.
  std::exception_ptr cause_of_missing_part() {
    std::unique_lock lock(mutex_);
    if (given_.empty() || std::filesystem::exists(given_)) return nullptr;
    changed_.wait(lock, [&] { return done_; });  // it is being told
    return error_;
  }
  std::optional<int64_t> expected_rows() const override { return rows_; }
  std::string export_id() const override { return export_id_; }
  TableMetadata metadata() const override { return metadata_; }
  std::optional<int64_t> rows_hint() const override {
    return progress_->rows_total < 0 ? std::nullopt : std::optional<int64_t>(progress_->rows_total);
  }

 private:
  const std::shared_ptr<const TableProgress> progress_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Part> parts_;
  std::filesystem::path given_;
  std::string export_id_;
  std::shared_ptr<DirectoryLock> lock_;
  std::optional<int64_t> rows_;
  TableMetadata metadata_;
  std::exception_ptr error_;
  bool done_ = false;
  bool unwanted_ = false;
};

// One table between its two halves.
struct TableRun {
  std::shared_ptr<TableProgress> progress = std::make_shared<TableProgress>();
  PartQueue queue{progress};
  Stopwatch watch;
  int64_t bytes = 0;  // written by the exporter before queue.finish()
  int64_t parts = 0;
};

class Run {
 public:
  Run(const std::vector<TableConfig>& tables, const std::vector<TableConfig>& configured,
      std::shared_ptr<SnowflakeConnectionManager> snowflake, std::shared_ptr<PostgresConnectionManager> postgres,
      const RunOptions& options)
      : tables_(tables),
        configured_(configured),
        snowflake_(std::move(snowflake)),
        postgres_(std::move(postgres)),
        target_(target_session(postgres_)),
        options_(options),
        checks_(tables.size()),
        runs_(tables.size()) {}

  RunReport operator()() {
    const Stopwatch watch;
    RunReport report = empty_report(tables_, true);
    catching(
        [&] {
          record_.emplace(options_.export_.directory, report.run_id);
          check_targets(report);
          if (std::any_of(checks_.begin(), checks_.end(), [](const auto& check) { return check.has_value(); }))
            snowflake_->get_connection();
          record_->begin(tables_);
        },
        [&](const Error& error) { report.error = ReportError::from(error, options_.stop); });
    if (!report.error) {
      catching([&] { run_tables(report); }, [&](const Error& error) { report.error = ReportError::from(error, options_.stop); });
      finish_record(report);
      for (const EndOfRun* end : {&exports_end_, &end_}) {
        if (!report.error) report.error = end->unreachable(report.tables);
      }
    }
    report.logins = snowflake_->logins();
    report.seconds = watch.seconds();
    report.conclude();
    return report;
  }

 private:
  // What the targets alone show is told before the login, of all tables at once; the tables without such a problem go on.
  void check_targets(RunReport& report) {
    const std::shared_ptr<PostgresConnection> connection = target_->connection();
    const WaitScope waiting(*connection, {.stop = options_.stop});
    for (size_t i = 0; i < tables_.size(); ++i) {
      try {
        checks_[i].emplace(*connection, target_->settings(), tables_[i]);
        if (tables_[i].mode == LoadMode::append) skip_landed(i, *connection, report.tables[i]);
      } catch (const Error& error) {
        if (options_.stop.stop_requested()) throw Interrupted("run.stopped", "the run was stopped before its first table");
        const bool of_this_table = error.kind() == ErrorKind::postgres || error.kind() == ErrorKind::locked;
        if (!of_this_table || error.connection_lost()) throw;
        checks_[i].reset();
        report.tables[i].fail(error, options_.stop);
        tell_not_begun(i, report.tables[i]);
      }
    }
  }

  // Rows that an unfinished run has added are not added again: this run carries that one on.
  void skip_landed(size_t index, PostgresConnection& connection, TableReport& report) {
    const auto landed =
        landed_export(connection, target_->settings(), tables_[index], record_->begun_exports(tables_[index]), options_.stop);
    if (!landed) return;
    checks_[index].reset();
    report.reason = fmt::format(
        "an unfinished run has added its rows (export {}) and this run carries it on; to add rows nevertheless, delete {}",
        *landed, record_->file().string());
    tell_not_begun(index, report);
  }

  void tell_not_begun(size_t index, const TableReport& report) {
    if (options_.observer == nullptr) return;
    options_.observer->table_started(index, tables_[index], std::make_shared<TableProgress>());
    options_.observer->table_finished(index, report);
  }

  void finish_record(RunReport& report) {
    std::vector<bool> done;
    for (const TableReport& table : report.tables) done.push_back(table.is_done());
    try {
      record_->finish(tables_, done, configured_);
    } catch (const Error& error) {
      // All tables still count as undone, which is what they are if one of them failed.
      if (std::find(done.begin(), done.end(), false) != done.end()) {
        log(LogLevel::warning, "{}", error.what());
        return;
      }
      report.error = ReportError::from(FileError(
          "run.record_left",
          "all tables are done, but the run's record stays, and the next run would skip its appends (" + error.message() + ")",
          {.where = record_->file().string(), .hint = "delete the file"}));
    }
  }

  void run_tables(RunReport& report) {
    std::vector<std::jthread> exporters;
    const size_t jobs = std::min(tables_.size(), static_cast<size_t>(std::max(1, options_.jobs)));
    try {
      for (size_t i = 0; i < jobs; ++i) exporters.emplace_back([this] { export_tables(); });
    } catch (const std::system_error& error) {  // fewer threads do the same work
      if (exporters.empty()) throw;
      log(LogLevel::warning, "{} of {} jobs could be started: {}", exporters.size(), jobs, error.what());
    }
    for (size_t i = 0; i < tables_.size(); ++i) {
      if (!checks_[i]) continue;
      wait_until_started(i);
      import_one(i, report.tables[i]);
      if (runs_[i] == nullptr) continue;
      end_.table_ended(report.tables[i].error);
      if (end_.reached()) halt();
    }
  }

  // An exporter takes the next table until none is left. Tables start in order, so the importer never waits in vain.
  void export_tables() {
    for (;;) {
      size_t index = 0;
      {
        std::lock_guard lock(mutex_);
        while (next_ != tables_.size() && !checks_[next_]) ++next_;
        if (next_ == tables_.size() || halted_) return;
        index = next_++;
        runs_[index] = std::make_unique<TableRun>();
        started_.notify_all();
      }
      TableRun& run = *runs_[index];
      try {
        export_one(index, run);
        exports_end_.table_ended(std::nullopt);
      } catch (const Error& error) {
        run.queue.fail(std::current_exception());
        exports_end_.table_ended(ReportError::from(error, options_.stop));
      } catch (...) {
        run.queue.fail(std::current_exception());
      }
      if (exports_end_.reached()) halt();  // the importer tells; no further table is begun meanwhile
    }
  }

  void export_one(size_t index, TableRun& run) {
    const TableConfig& table = tables_[index];
    SnowflakeDataExtractor extractor(snowflake_);
    Extraction extraction = extractor.extract_table_chunks(table, {options_.export_, options_.password, options_.budget,
                                                                   run.progress, *checks_[index], options_.stop, options_.wait});
    record_->begin_export(table, extraction.export_id());  // before the loader can commit any of its rows
    run.queue.set_export(extraction.export_id(), extraction.lock());
    while (const auto part = extraction.next()) run.queue.push({extraction.directory() / part->file, extraction.salt(), nullptr});
    const Manifest& manifest = extraction.finish();
    run.bytes = manifest.bytes;
    run.parts = static_cast<int64_t>(manifest.parts.size());
    run.queue.finish(manifest.rows, manifest.metadata);
  }

  void import_one(size_t index, TableReport& report) {
    if (runs_[index] == nullptr) return;  // halted before it began: stays skipped
    TableRun& run = *runs_[index];
    const TableConfig& table = tables_[index];
    if (options_.observer != nullptr) options_.observer->table_started(index, table, run.progress);
    catching(
        [&] {
          report = import_parts(run.queue, table, options_.password, postgres_, options_, run.progress.get());
          report.bytes = run.bytes;
          report.parts = run.parts;
        },
        [&](const Error& error) { fail_table(table, report, run, error); });
    run.queue.release();
    report.seconds = run.watch.seconds();
    if (options_.observer != nullptr) options_.observer->table_finished(index, report);
  }

  void fail_table(const TableConfig& table, TableReport& report, TableRun& run, const Error& error) const {
    if (error.kind() == ErrorKind::commit_in_doubt && table.mode == LoadMode::append) {
      report.fail(
          CommitInDoubt(error.code(), error.message(),
                        {.where = error.where(),
                         .hint = "the next run asks the table's ledger: it skips the table if the rows were kept, and adds "
                                 "them if not",
                         .sqlstate = error.sqlstate(),
                         .connection_lost = true}),
          options_.stop);
      return;
    }
    const std::exception_ptr cause = error.kind() == ErrorKind::file ? run.queue.cause_of_missing_part() : nullptr;
    if (!cause) return report.fail(error, options_.stop);
    catching([&] { std::rethrow_exception(cause); }, [&](const Error& first) { report.fail(first, options_.stop); });
  }

  void wait_until_started(size_t index) {
    std::unique_lock lock(mutex_);
    started_.wait(lock, [&] { return runs_[index] != nullptr || halted_; });
  }

  void halt() {
    std::lock_guard lock(mutex_);
    halted_ = true;
    started_.notify_all();
  }

  const std::vector<TableConfig>& tables_;
  const std::vector<TableConfig>& configured_;
  const std::shared_ptr<SnowflakeConnectionManager> snowflake_;
  const std::shared_ptr<PostgresConnectionManager> postgres_;
  const std::shared_ptr<TargetSession> target_;
  const RunOptions& options_;
  std::mutex mutex_;
  std::condition_variable started_;
  std::optional<RunRecord> record_;
  std::vector<std::optional<TargetCheck>> checks_;  // empty where the target was refused or has the rows already
  std::vector<std::unique_ptr<TableRun>> runs_;
  // Exports run ahead of imports, and a success of one says nothing of the other's server.
  EndOfRun exports_end_;
  EndOfRun end_;
  size_t next_ = 0;
  bool halted_ = false;
};

}  // namespace

RunReport run_data(const std::vector<TableConfig>& tables, const std::vector<TableConfig>& configured,
                   const std::shared_ptr<SnowflakeConnectionManager>& snowflake,
                   const std::shared_ptr<PostgresConnectionManager>& postgres, const RunOptions& options) {
  RunOptions shared = options;
  if (shared.load_connections == 0) shared.load_connections = default_load_connections(PartsAre::in_the_making);
  if (!shared.budget) shared.budget = make_budget(options.export_);
  return Run(tables, configured, snowflake, postgres, shared)();
}

}  // namespace snowmelt
