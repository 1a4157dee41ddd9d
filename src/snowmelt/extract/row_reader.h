// Rows of Snowflake results as text, for cursors: the bytes, their download and their types are extract/'s business.
#pragma once

#include "snowmelt/connections/snowflake_connection.h"

namespace snowmelt {

// Gives connections/ its reader (set_result_row_reader). Called by every extractor; a program that only uses cursors calls it
// once. Values come in canonical text: exact decimals, ISO dates and times ("2024-02-29 23:59:59.5", TIMESTAMP_LTZ with
// "+00:00", TIMESTAMP_TZ with its own offset), true and false, hex for binary.
void install_row_reader();

// How timestamps are read: `nanos` (every digit, years 1677 to 2262; the default) or `truncate` (microseconds, every year), which
// suits callers whose own type ends at the microsecond, as Python's datetime does. For the whole process.
void set_row_reader_subseconds(SubsecondMode mode);

}  // namespace snowmelt
