#include "snowmelt/pipeline/import_data.h"

#include <algorithm>
#include <chrono>
#include <thread>

#include "snowmelt/connections/postgres_connection.h"
#include "snowmelt/load/part_source.h"
#include "snowmelt/pipeline/table_loop.h"
#include "snowmelt/storage/manifest.h"

namespace snowmelt {

int default_load_connections(PartsAre parts) {
  constexpr unsigned kMost = 4;
  const unsigned waiting = parts == PartsAre::in_the_making ? 1 : 0;
  return static_cast<int>(std::clamp(std::thread::hardware_concurrency() + waiting, 1u, kMost));
}

TableReport import_parts(PartSource& parts, const TableConfig& table, const std::optional<FilePassword>& password,
                         const std::shared_ptr<ConnectionManager>& conn_manager, const RunOptions& options,
                         TableProgress* progress) {
  PostgreSQLDataLoader loader(conn_manager);
  LoadOptions load{
      .mode = table.mode,
      .rules = table.rules,
      .password = password,
      .memory_limit = options.export_.memory_limit,
      .progress = progress,
      .stop = options.stop,
      .connections = options.load_connections > 0 ? options.load_connections : default_load_connections(PartsAre::files),
      .commit = true};
  TableReport report{.source = table.name, .target = table.target, .status = RunStatus::ok};
  const LoadOutcome outcome = loader.load(parts, table.target, load);
  report.rows = outcome.rows;
  if (!outcome.skipped.empty()) {
    report.status = RunStatus::skipped;
    report.reason = outcome.skipped;
  }
  report.note_policies(progress);
  return report;
}

TableReport import_table(const TableConfig& table, const std::optional<FilePassword>& password,
                         const std::filesystem::path& import_base_dir, const std::shared_ptr<ConnectionManager>& conn_manager,
                         const RunOptions& options, TableProgress* progress) {
  const std::filesystem::path directory = export_directory(import_base_dir, table.name);
  const LockWait wait{.most = options.wait, .stop = options.stop, .note = progress != nullptr ? &progress->waiting : nullptr};
  const auto parts = open_part_source(directory, password, wait);  // locks the directory
  const Manifest manifest = read_manifest(directory, password);    // an incomplete export is refused here
  if (progress != nullptr) progress->rows_total = manifest.rows;
  TableReport report = import_parts(*parts, table, password, conn_manager, options, progress);
  report.bytes = manifest.bytes;
  report.parts = static_cast<int64_t>(manifest.parts.size());
  return report;
}

RunReport import_data(const std::vector<TableConfig>& tables, const std::shared_ptr<ConnectionManager>& conn_manager,
                      const RunOptions& options) {
  return for_each_table(
      tables, options, /*jobs=*/1, [&] { conn_manager->get_connection(); },
      [&](const TableConfig& table, const std::shared_ptr<TableProgress>& progress) {
        return import_table(table, options.password, options.export_.directory, conn_manager, options, progress.get());
      });
}

}  // namespace snowmelt
