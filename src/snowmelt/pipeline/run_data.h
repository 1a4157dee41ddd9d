// snowmelt run: export and import at once, parts loaded as they are finished.
#pragma once

#include "snowmelt/connections/postgres_connection.h"
#include "snowmelt/connections/snowflake_connection.h"
#include "snowmelt/pipeline/export_data.h"

namespace snowmelt {

// PostgreSQL is contacted first (it needs no human), then the one login, then the tables. A table of mode append whose rows an
// unfinished run of this export directory has committed is skipped (run_record.h). `configured`: all tables there are, of
// which `tables` may be some.
RunReport run_data(const std::vector<TableConfig>& tables, const std::vector<TableConfig>& configured,
                   const std::shared_ptr<SnowflakeConnectionManager>& snowflake,
                   const std::shared_ptr<PostgresConnectionManager>& postgres, const RunOptions& options);

}  // namespace snowmelt
