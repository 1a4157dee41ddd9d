// Nested Arrow values as JSON text, exact: numbers with all their digits, members in the order of the fields.
#pragma once

#include <arrow/api.h>

#include <memory>
#include <string>
#include <string_view>

namespace snowmelt {

// Whether JSON has a form for every value of the type, NaN and infinities apart: not for bytes.
bool json_knows(const arrow::DataType& type);

// PostgreSQL takes no value of 1 GB.
inline constexpr size_t kJsonTextBytesMax = 1 << 30;

// One text a row; NULL stays NULL. Dates and times become ISO 8601 text. Throws ValueError by column and row (`first_row`
// counts from 1) for NaN, infinities, text that is not UTF-8, and for a text of more than `text_bytes_max`: it repeats the
// members' names, so that few bytes become any number of them.
std::shared_ptr<arrow::Array> json_texts(const arrow::Array& values, const std::string& column, int64_t first_row,
                                         size_t text_bytes_max = kJsonTextBytesMax);

// Where JSON text has the escape of U+0000, from `from` on: a \u0000 with an even number of backslashes before it. jsonb has no
// such character.
size_t find_json_nul(std::string_view json, size_t from);

}  // namespace snowmelt
