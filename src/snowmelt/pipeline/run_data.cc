#include "snowmelt/pipeline/run_data.h"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

#include "snowmelt/error.h"
#include "snowmelt/extract/snowflake_data_extractor.h"
#include "snowmelt/load/target_check.h"
#include "snowmelt/pipeline/import_data.h"
#include "snowmelt/pipeline/table_loop.h"
#include "snowmelt/storage/manifest.h"

namespace snowmelt {
namespace {

// Parts on their way from the exporter to the loader of one table. They are files: the queue costs no memory.
class PartQueue : public PartSource {
 public:
  explicit PartQueue(const TableProgress& progress) : progress_(progress) {}
  // Before the first part, which the loader waits for.
  void set_export_id(std::string id) { export_id_ = std::move(id); }
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
    changed_.wait(lock, [&] { return !parts_.empty() || done_; });
    if (!parts_.empty()) {
      Part part = std::move(parts_.front());
      parts_.pop_front();
      return part;
    }
    if (error_) std::rethrow_exception(error_);
    return std::nullopt;
  }
  std::optional<int64_t> expected_rows() const override { return rows_; }
  std::string export_id() const override { return export_id_; }
  TableMetadata metadata() const override { return metadata_; }
  std::optional<int64_t> rows_hint() const override {
    return progress_.rows_total < 0 ? std::nullopt : std::optional<int64_t>(progress_.rows_total);
  }

 private:
  const TableProgress& progress_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Part> parts_;
  std::string export_id_;
  std::optional<int64_t> rows_;
  TableMetadata metadata_;
  std::exception_ptr error_;
  bool done_ = false;
};

// One table between its two halves.
struct TableRun {
  TableProgress progress;
  PartQueue queue{progress};
  Stopwatch watch;
  int64_t bytes = 0;  // written by the exporter before queue.finish()
  int64_t parts = 0;
};

class Run {
 public:
  Run(const std::vector<TableConfig>& tables, SnowflakeConnectionManager& snowflake, PostgresConnectionManager& postgres,
      const RunOptions& options)
      : tables_(tables),
        snowflake_(snowflake),
        postgres_(postgres),
        options_(options),
        checks_(tables.size()),
        runs_(tables.size()) {}

  RunReport operator()() {
    const Stopwatch watch;
    RunReport report = empty_report(tables_, true);
    catching(
        [&] {
          check_targets(report);
          if (std::any_of(checks_.begin(), checks_.end(), [](const auto& check) { return check.has_value(); }))
            snowflake_.get_connection();
        },
        [&](const Error& error) { report.error = ReportError::from(error); });
    if (!report.error) run_tables(report);
    report.logins = snowflake_.logins();
    report.seconds = watch.seconds();
    report.conclude();
    return report;
  }

 private:
  // What the targets alone show is told before the login, of all tables at once; the tables without such a problem go on.
  void check_targets(RunReport& report) {
    auto* connection = dynamic_cast<PostgresConnection*>(postgres_.get_connection().get());
    if (connection == nullptr) throw BugError("run.not_postgres", "the manager gives no PostgreSQL connection");
    for (size_t i = 0; i < tables_.size(); ++i) {
      try {
        checks_[i].emplace(*connection, tables_[i]);
      } catch (const PostgresError& error) {
        if (error.connection_lost()) throw;
        tell_refused(i, report.tables[i], error);
      }
    }
  }

  void tell_refused(size_t index, TableReport& report, const Error& error) {
    const TableProgress progress;
    if (options_.observer != nullptr) options_.observer->table_started(index, tables_[index], progress);
    report.fail(error);
    if (options_.observer != nullptr) options_.observer->table_finished(index, report);
  }

  void run_tables(RunReport& report) {
    std::vector<std::jthread> exporters;
    const size_t jobs = std::min(tables_.size(), static_cast<size_t>(std::max(1, options_.jobs)));
    for (size_t i = 0; i < jobs; ++i) exporters.emplace_back([this] { export_tables(); });
    for (size_t i = 0; i < tables_.size(); ++i) {
      if (!checks_[i]) continue;
      wait_until_started(i);
      import_one(i, report.tables[i]);
      if (report.tables[i].error && ends_the_run(*report.tables[i].error)) halt();
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
      } catch (const Error& error) {
        run.queue.fail(std::current_exception());
        if (ends_the_run(ReportError::from(error))) halt();
      } catch (...) {
        run.queue.fail(std::current_exception());
      }
    }
  }

  void export_one(size_t index, TableRun& run) {
    const TableConfig& table = tables_[index];
    SnowflakeDataExtractor extractor(snowflake_);
    Extraction extraction = extractor.extract_table_chunks(
        table, {options_.export_, options_.password, options_.budget, &run.progress, *checks_[index], options_.stop});
    run.queue.set_export_id(extraction.export_id());
    while (const auto part = extraction.next()) run.queue.push({extraction.directory() / part->file, extraction.salt()});
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
          report = import_parts(run.queue, table, options_.password, postgres_, options_, &run.progress);
          report.bytes = run.bytes;
          report.parts = run.parts;
        },
        [&](const Error& error) { report.fail(error); });
    report.seconds = run.watch.seconds();
    if (options_.observer != nullptr) options_.observer->table_finished(index, report);
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
  SnowflakeConnectionManager& snowflake_;
  PostgresConnectionManager& postgres_;
  const RunOptions& options_;
  std::mutex mutex_;
  std::condition_variable started_;
  std::vector<std::optional<TargetCheck>> checks_;  // empty where the target was refused
  std::vector<std::unique_ptr<TableRun>> runs_;
  size_t next_ = 0;
  bool halted_ = false;
};

}  // namespace

RunReport run_data(const std::vector<TableConfig>& tables, SnowflakeConnectionManager& snowflake,
                   PostgresConnectionManager& postgres, const RunOptions& options) {
  RunOptions shared = options;
  if (!shared.budget) shared.budget = make_budget(options.export_);
  return Run(tables, snowflake, postgres, shared)();
}

}  // namespace snowmelt
