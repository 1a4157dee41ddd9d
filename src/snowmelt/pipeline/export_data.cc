#include "snowmelt/pipeline/export_data.h"

#include "snowmelt/extract/snowflake_data_extractor.h"
#include "snowmelt/pipeline/table_loop.h"

namespace snowmelt {

TableReport export_table(const TableConfig& table, const std::optional<FilePassword>& password,
                         const std::filesystem::path& export_base_dir, const std::shared_ptr<ConnectionManager>& conn_manager,
                         const RunOptions& options, const std::shared_ptr<TableProgress>& progress) {
  SnowflakeDataExtractor extractor(conn_manager);
  ExtractOptions extract{options.export_, password, options.budget, progress, {}, options.stop};
  extract.directory = export_base_dir;
  extract.wait = options.wait;
  Extraction extraction = extractor.extract_table_chunks(table, extract);
  const Manifest& manifest = extraction.finish();
  TableReport report{.source = table.name, .status = RunStatus::ok};
  report.rows = manifest.rows;
  report.bytes = manifest.bytes;
  report.parts = static_cast<int64_t>(manifest.parts.size());
  report.note_policies(progress.get());
  return report;
}

std::shared_ptr<WorkBudget> make_budget(const ExportConfig& settings) {
  return make_work_budget(settings.threads, settings.downloads, settings.memory_limit);
}

RunReport export_data(const std::vector<TableConfig>& tables, const std::shared_ptr<ConnectionManager>& conn_manager,
                      const RunOptions& run_options) {
  RunOptions options = run_options;
  if (!options.budget) options.budget = make_budget(options.export_);
  return for_each_table(
      tables, options, options.jobs, [&] { conn_manager->get_connection(); },
      [&](const TableConfig& table, const std::shared_ptr<TableProgress>& progress) {
        return export_table(table, options.password, options.export_.directory, conn_manager, options, progress);
      });
}

}  // namespace snowmelt
