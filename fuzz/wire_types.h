// A row type for whatever columns a fuzzed Arrow stream has, so that every converter meets hostile arrays.
#pragma once

#include <arrow/api.h>

#include <string>
#include <vector>

#include "snowmelt/connections/snowflake_connection.h"

namespace snowmelt::fuzz {

// `choice` picks among the types that a physical form may stand for.
inline SnowflakeColumn column_for(const std::string& name, const arrow::DataType& wire, uint8_t choice) {
  SnowflakeColumn column{.name = name, .precision = 38, .scale = choice % 10};
  switch (wire.id()) {
    case arrow::Type::BOOL: column.type = "boolean"; break;
    case arrow::Type::DATE32: column.type = "date"; break;
    case arrow::Type::DOUBLE: column.type = "real"; break;
    case arrow::Type::BINARY: column.type = choice % 2 == 0 ? "binary" : "geography"; break;
    case arrow::Type::STRING: column.type = choice % 3 == 0 ? "variant" : choice % 3 == 1 ? "text" : "geography"; break;
    case arrow::Type::FIXED_SIZE_LIST:
      column.type = "vector";
      column.fields = {{.name = "", .type = choice % 2 == 0 ? "fixed" : "real"}};
      break;
    case arrow::Type::STRUCT: {
      const char* const types[] = {"timestamp_ntz", "timestamp_ltz", "timestamp_tz", "decfloat", "object"};
      column.type = types[choice % 5];
      if (choice % 5 == 4) {
        for (const auto& field : wire.fields()) {
          column.fields.push_back(column_for(field->name(), *field->type(), static_cast<uint8_t>(choice / 5)));
        }
      }
      break;
    }
    case arrow::Type::LIST:
    case arrow::Type::MAP:
      column.type = wire.id() == arrow::Type::LIST ? "array" : "map";
      for (const auto& field : wire.id() == arrow::Type::LIST ? wire.fields() : wire.field(0)->type()->fields()) {
        column.fields.push_back(column_for(field->name(), *field->type(), static_cast<uint8_t>(choice / 5)));
      }
      break;
    default: {
      const char* const types[] = {"fixed", "time", "timestamp_ntz", "interval_day_time", "interval_year_month", "fixed"};
      column.type = types[choice % 6];
    }
  }
  return column;
}

}  // namespace snowmelt::fuzz
