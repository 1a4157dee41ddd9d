// Keys and comments of a Snowflake table, asked for while its chunks are on their way.
#pragma once

#include <memory>
#include <stop_token>
#include <string>

#include "snowmelt/connections/snowflake_connection.h"
#include "snowmelt/storage/manifest.h"

namespace snowmelt {

// Never throws: what the role may not see, and what a lost session takes along, is left out with a log line.
TableMetadata read_table_metadata(const std::shared_ptr<SnowflakeConnection>& connection, const std::string& source,
                                  const std::stop_token& stop) noexcept;

// A text literal and a name as Snowflake reads them.
std::string quote_snowflake_literal(const std::string& text);
std::string quote_snowflake_identifier(const std::string& name);

}  // namespace snowmelt
