// Rows of Snowflake results as text: for cursors, and for the engine's own small questions. The bytes, their download and their
// types are extract/'s business.
#pragma once

#include <memory>
#include <stop_token>
#include <vector>

#include "snowmelt/connections/source_session.h"

namespace snowmelt {

// For SnowflakeConnectionManager::set_row_reader. Values come in canonical text: exact decimals, ISO dates and times
// ("2024-02-29 23:59:59.5", TIMESTAMP_LTZ with "+00:00", TIMESTAMP_TZ with its own offset), true and false, hex for binary.
// `mode`: `nanos` (every digit, years 1677 to 2262) or `truncate` (microseconds, every year), which suits callers whose own type
// ends at the microsecond, as Python's datetime does.
ResultRowReader arrow_row_reader(SubsecondMode mode = SubsecondMode::nanos);

// An answer's columns and all its rows: for results that are known to be small.
struct SmallResult {
  std::vector<ColumnDescription> columns;
  std::vector<Row> rows;
};
SmallResult read_small_result(const std::shared_ptr<SourceSession>& session, SourceSession::Answer answer, std::stop_token stop);

}  // namespace snowmelt
