// Nested Arrow values as JSON text, exact: numbers with all their digits, members in the order of the fields.
#pragma once

#include <arrow/api.h>

#include <memory>
#include <string>
#include <string_view>

namespace snowmelt {

// Whether JSON has a form for every value of the type, NaN and infinities apart: not for bytes.
bool json_knows(const arrow::DataType& type);

// One text a row; NULL stays NULL. Dates and times become ISO 8601 text. Throws ValueError by column and row (`first_row`
// counts from 1) for NaN, infinities and text that is not UTF-8.
std::shared_ptr<arrow::Array> json_texts(const arrow::Array& values, const std::string& column, int64_t first_row);

// Where JSON text has the escape of U+0000, from `from` on: a \u0000 with an even number of backslashes before it. jsonb has no
// such character.
size_t find_json_nul(std::string_view json, size_t from);

}  // namespace snowmelt
