// Many exported tables into PostgreSQL through one manager: one connection.
#pragma once

#include "snowmelt/load/postgresql_data_loader.h"
#include "snowmelt/pipeline/export_data.h"

namespace snowmelt {

enum class PartsAre { files, in_the_making };

// Connections that fill one table where nothing says how many. Each has an encoder here and a backend there. Nobody tells a
// client the server's cores: on the same host they are these, elsewhere four are a guess that does not hurt a server of two.
// Beside an export one more pays: some connection waits for its next part (`run` 2.25 to 2.36 x the peer, not 2.11 x).
int default_load_connections(PartsAre parts);

// Loads <import_base_dir>/<source>/ into the table's target, publishes and commits it. Throws; nothing of it stays then.
TableReport import_table(const TableConfig& table, const std::optional<FilePassword>& password,
                         const std::filesystem::path& import_base_dir, const std::shared_ptr<ConnectionManager>& conn_manager,
                         const RunOptions& options = {}, TableProgress* progress = nullptr);

// The same from parts that may still be in the making (snowmelt run).
TableReport import_parts(PartSource& parts, const TableConfig& table, const std::optional<FilePassword>& password,
                         const std::shared_ptr<ConnectionManager>& conn_manager, const RunOptions& options,
                         TableProgress* progress);

RunReport import_data(const std::vector<TableConfig>& tables, const std::shared_ptr<ConnectionManager>& conn_manager,
                      const RunOptions& options);

}  // namespace snowmelt
