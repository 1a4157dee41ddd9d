// Keys and comments of a Snowflake table, asked for while its chunks are on their way.
#pragma once

#include <memory>
#include <stop_token>
#include <string>

#include "snowmelt/connections/source_session.h"
#include "snowmelt/storage/manifest.h"

namespace snowmelt {

// Never throws: what the role may not see, what a lost session takes along, and what has not come when `stop` is requested, is
// left out with a log line.
TableMetadata read_table_metadata(const std::shared_ptr<SourceSession>& session, const std::string& source,
                                  const std::stop_token& stop) noexcept;

// Asks INFORMATION_SCHEMA.TABLES, with the quoting of Snowflake, for `columns` of the one table that `source` names.
std::string tables_query(const std::string& columns, const std::string& source);

}  // namespace snowmelt
