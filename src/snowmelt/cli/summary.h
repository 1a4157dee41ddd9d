// The report as a person reads it.
#pragma once

#include <string>
#include <vector>

#include "snowmelt/pipeline/run_report.h"

namespace snowmelt {

// A table with a line a table, the totals, and "logins: N" where Snowflake was involved. Columns shrink to `width`.
std::string summary_text(const RunReport& report, int width, bool with_logins);

// What failed, a text each: equal failures once with their number and some names, and what was not tried because of them.
std::vector<std::string> error_texts(const RunReport& report);

// "6,001,215"
std::string with_commas(int64_t number);
// "27.4 MB" (10^6 bytes)
std::string megabytes(int64_t bytes);

}  // namespace snowmelt
