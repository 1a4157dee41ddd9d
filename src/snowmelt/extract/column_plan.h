// What is done with one column, decided once a result; the converters below only run it.
#pragma once

#include <arrow/api.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "snowmelt/config.h"
#include "snowmelt/connections/base_connection.h"
#include "snowmelt/progress.h"
#include "snowmelt/storage/source_type.h"

namespace snowmelt {

enum class ColumnKind {
  integer,  // NUMBER(p,0) as INT64
  decimal,  // NUMBER(p,s) in its narrowest carrier
  real,
  text,       // TEXT, UUID, and the JSON text of VARIANT, OBJECT, ARRAY, MAP
  geography,  // text, or hex of WKB, where the row type does not say which
  boolean,
  date,
  time,
  timestamp,  // NTZ, LTZ, and the instant of TZ
  tz_offset,  // minutes, from TIMESTAMP_TZ
  binary,
  vector,
  decfloat,
  interval_months,  // INTERVAL YEAR TO MONTH and its parts
  interval_nanos,   // INTERVAL DAY TO SECOND and its parts
};

struct ColumnPlan {
  int wire_column = 0;
  ColumnKind kind = ColumnKind::text;
  std::string name;  // the source's
  SourceType source_type;
  int precision = 38;
  int scale = 0;          // of NUMBER; of TIME and TIMESTAMP the digits below the second
  bool zoned = false;     // TIMESTAMP_TZ: two or three children with a time zone
  bool integers = false;  // VECTOR(INT, n)
  SubsecondMode on_subsecond = SubsecondMode::error;
  PolicyCounts* policies = nullptr;
  std::shared_ptr<arrow::DataType> type = {};
  std::vector<ColumnPlan> children = {};  // of a structured type: members, element, key and value
};

using ArrayPtr = std::shared_ptr<arrow::Array>;

// Whatever the kind is.
ArrayPtr convert_by_kind(const ColumnPlan& plan, const ArrayPtr& wire, int64_t first_row);

// By kind; each knows all physical forms its types take on the wire. `first_row` is 0-based in the result.
ArrayPtr convert_number(const ColumnPlan& plan, const ArrayPtr& wire, int64_t first_row);     // integer, decimal
ArrayPtr convert_time(const ColumnPlan& plan, const ArrayPtr& wire, int64_t first_row);       // time
ArrayPtr convert_timestamp(const ColumnPlan& plan, const ArrayPtr& wire, int64_t first_row);  // timestamp, tz_offset
ArrayPtr convert_decfloat(const ColumnPlan& plan, const ArrayPtr& wire, int64_t first_row);
ArrayPtr convert_interval(const ColumnPlan& plan, const ArrayPtr& wire, int64_t first_row);
ArrayPtr convert_vector(const ColumnPlan& plan, const ArrayPtr& wire, int64_t first_row);
ArrayPtr convert_geography(const ColumnPlan& plan, const ArrayPtr& wire, int64_t first_row);
// Text as it is. Throws ValueError for a value that is not UTF-8: nothing before this has looked.
ArrayPtr checked_text(const ColumnPlan& plan, const ArrayPtr& wire, int64_t first_row);
// Bytes as hexadecimal text.
ArrayPtr hex_texts(const arrow::BinaryArray& bytes);
// Structs, lists and maps that arrive as such (a session with native structured types) as JSON text, members exact.
ArrayPtr convert_structured(const ColumnPlan& plan, const ArrayPtr& wire, int64_t first_row);
// No more than that many bytes has the JSON text of these rows; without a look at each of them.
int64_t json_bytes_max(const arrow::Array& wire, int64_t begin, int64_t count);
// The plan's column of rows of text (text_columns.cc).
ArrayPtr convert_text_values(const ColumnPlan& plan, const std::vector<Row>& rows, int64_t first_row);

// "column AMOUNT, row 48211" (rows count from 1 for people).
[[noreturn]] void throw_value_error(const ColumnPlan& plan, int64_t row, std::string code, std::string message,
                                    std::string hint = {});
[[noreturn]] void throw_wire_type(const ColumnPlan& plan, const arrow::DataType& found);

}  // namespace snowmelt
