// The table of docs/types.md, made by the code that converts.
#pragma once

#include <string>

namespace snowmelt {

// Markdown: every Snowflake type with its Parquet form and the PostgreSQL types that take it, Arrow types of other writers, the
// policies, and a footnote for every loss.
std::string type_table_markdown();

}  // namespace snowmelt
