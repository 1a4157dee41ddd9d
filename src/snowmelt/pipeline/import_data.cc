#include "snowmelt/pipeline/import_data.h"

#include "snowmelt/connections/postgres_connection.h"
#include "snowmelt/pipeline/table_loop.h"
#include "snowmelt/storage/manifest.h"

namespace snowmelt {

TableReport import_parts(PartSource& parts, const TableConfig& table, const std::optional<Secret>& password,
                         ConnectionManager& conn_manager, const RunOptions& options, TableProgress* progress) {
  PostgreSQLDataLoader loader(conn_manager);
  TableReport report{.source = table.name, .target = table.target, .status = RunStatus::ok};
  report.rows = loader.load_parquet_to_table(parts, table.target,
                                             {.mode = table.mode,
                                              .integers = table.integers,
                                              .password = password,
                                              .columns = table.columns,
                                              .on_subsecond = table.on_subsecond,
                                              .progress = progress,
                                              .stop = options.stop});
  report.note_policies(progress);
  // With autocommit, and with a mock, the load is committed already or has no transaction.
  if (auto* postgres = dynamic_cast<PostgresConnectionManager*>(&conn_manager)) postgres->commit();
  return report;
}

TableReport import_table(const TableConfig& table, const std::optional<Secret>& password,
                         const std::filesystem::path& import_base_dir, ConnectionManager& conn_manager, const RunOptions& options,
                         TableProgress* progress) {
  const std::filesystem::path directory = export_directory(import_base_dir, table.name);
  const Manifest manifest = read_manifest(directory);  // an incomplete export is refused here
  if (progress != nullptr) progress->rows_total = manifest.rows;
  TableReport report = import_parts(*open_part_source(directory), table, password, conn_manager, options, progress);
  report.bytes = manifest.bytes;
  report.parts = static_cast<int64_t>(manifest.parts.size());
  return report;
}

RunReport import_data(const std::vector<TableConfig>& tables, ConnectionManager& conn_manager, const RunOptions& options) {
  return for_each_table(
      tables, options, /*jobs=*/1, [&] { conn_manager.get_connection(); },
      [&](const TableConfig& table, TableProgress& progress) {
        return import_table(table, options.password, options.export_.directory, conn_manager, options, &progress);
      });
}

}  // namespace snowmelt
