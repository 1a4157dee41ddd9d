// snowmelt run: export and import at once, parts loaded as they are finished.
#pragma once

#include "snowmelt/connections/postgres_connection.h"
#include "snowmelt/connections/snowflake_connection.h"
#include "snowmelt/pipeline/export_data.h"

namespace snowmelt {

// PostgreSQL is contacted first (it needs no human), then the one login, then the tables.
RunReport run_data(const std::vector<TableConfig>& tables, SnowflakeConnectionManager& snowflake,
                   PostgresConnectionManager& postgres, const RunOptions& options);

}  // namespace snowmelt
