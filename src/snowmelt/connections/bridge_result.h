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

// Throws VerificationError for rows that are missing for numbers, headers or addresses that cannot be, and for another
// shape. `where` is the account, for errors.
StatementResult parse_result(const nlohmann::json& answer, const std::string& where, RowCheck check);

}  // namespace snowmelt
