// An answer of the bridge as facts: what the server says is checked before anything is done with it.
#pragma once

#include <string>

#include <nlohmann/json_fwd.hpp>

#include "snowmelt/connections/snowflake_connection.h"

namespace snowmelt {

enum class RowCheck {
  all_rows,   // an answer that was cut off by ROWS_PER_RESULTSET is refused
  described,  // only asked what it is: there are no rows to count
};

// The one place where a server's numbers are judged: what passes has counts and sizes of zero or more, and chunks that have no
// more rows together than the total. Throws VerificationError for others, for rows that are missing, for headers or addresses
// that cannot be, and for another shape. `where` is the account, for errors.
StatementResult parse_result(const nlohmann::json& answer, const std::string& where, RowCheck check);

}  // namespace snowmelt
