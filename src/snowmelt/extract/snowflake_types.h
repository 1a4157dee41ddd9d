// Snowflake's row type and wire form → the exact Arrow form that snowmelt keeps in Parquet.
#pragma once

#include <arrow/api.h>

#include <memory>
#include <string>
#include <vector>

#include "snowmelt/config.h"
#include "snowmelt/connections/snowflake_connection.h"
#include "snowmelt/progress.h"
#include "snowmelt/storage/manifest.h"

namespace snowmelt {

struct ColumnPlan;  // column_plan.h

// One a result; const and shared by all threads. The file's schema depends on the row type alone, never on the data, so
// that every part of a table, and every later export of it, has the same one.
class WireConverter {
 public:
  // Throws ValueError naming every column whose type is not known. `policies` is raised where a policy changed a value; it
  // outlives the converter.
  WireConverter(const std::vector<SnowflakeColumn>& row_type, const ColumnRules& rules, PolicyCounts* policies = nullptr);
  ~WireConverter();

  const std::shared_ptr<arrow::Schema>& schema() const { return schema_; }
  // One a field of schema().
  const std::vector<SourceColumn>& columns() const { return columns_; }

  // Throws VerificationError where a stream's columns are not the row type's.
  void check_wire_schema(const arrow::Schema& wire) const;

  // One field of the file from a batch off the wire, without a copy where the bits are the same. `first_row` is the batch's
  // first row in the whole result (0-based), for messages. Throws ValueError naming column and row.
  std::shared_ptr<arrow::Array> convert_column(int field, const arrow::RecordBatch& wire, int64_t first_row) const;
  std::shared_ptr<arrow::RecordBatch> convert(const arrow::RecordBatch& wire, int64_t first_row) const;

  // The batch in pieces whose structured columns become some 64 MB of JSON text each, or in one where they do anyhow: the wire
  // has a member's name once, the text in every row.
  std::vector<std::shared_ptr<arrow::RecordBatch>> cut(const std::shared_ptr<arrow::RecordBatch>& wire) const;

  // Rows of a JSON result, or of a cursor that only knows rows.
  std::shared_ptr<arrow::RecordBatch> convert_rows(const std::vector<Row>& rows, int64_t first_row) const;

 private:
  std::shared_ptr<arrow::Array> in_range(const ColumnPlan& plan, const std::shared_ptr<arrow::Array>& wire,
                                         int64_t first_row) const;

  RangeMode on_out_of_range_ = RangeMode::error;
  PolicyCounts* policies_ = nullptr;
  std::vector<ColumnPlan> plans_;
  std::vector<std::string> wire_names_;
  std::vector<SourceColumn> columns_;
  std::shared_ptr<arrow::Schema> schema_;
};

// The row type's words of all types that are kept, for docs/types.md: one sample column each, extensions among them.
std::vector<SnowflakeColumn> known_types();

// Whether a column's type is one that WireConverter keeps.
bool is_known_type(const SnowflakeColumn& column);

// The row type of a cursor that gives only descriptions (a mock): numbers and booleans where it says so, text for the rest,
// since no promise is made there about the text form of dates.
std::vector<SnowflakeColumn> row_type_of(const std::vector<ColumnDescription>& description);

}  // namespace snowmelt
