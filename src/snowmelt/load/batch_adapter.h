// What happens to a file's columns before they are encoded: some left out, some renamed, other writers' forms made plain
// (dictionaries, views, nested values as JSON text), and the values that a policy changes.
#pragma once

#include <arrow/api.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "snowmelt/config.h"
#include "snowmelt/load/column_codec.h"
#include "snowmelt/load/postgresql_data_loader.h"
#include "snowmelt/progress.h"
#include "snowmelt/storage/manifest.h"

namespace snowmelt {

class BatchAdapter {
 public:
  // Throws ValueError naming every column of `rules` that the file lacks (a dropped one may be missing: the export left it
  // out).
  BatchAdapter(const arrow::Schema& file, const std::vector<SourceColumn>& source, const ColumnRules& rules);

  // As encoded: fields renamed, nested ones utf8 with the source type OBJECT or ARRAY, so that new tables get jsonb.
  const std::shared_ptr<arrow::Schema>& schema() const { return schema_; }
  const std::vector<SourceColumn>& source_columns() const { return source_; }
  // Types asked for, by the column's name in PostgreSQL.
  const std::map<std::string, std::string>& types() const { return types_; }

  // Keys and comments under the columns' names in PostgreSQL. A key that lost a column is none.
  TableMetadata metadata_as_loaded(const TableMetadata& source) const;

  // `first_row` counts from 1. Throws ValueError by column and row for a nested value that JSON has not (NaN, Infinity).
  std::shared_ptr<arrow::RecordBatch> adapt(const arrow::RecordBatch& batch, int64_t first_row) const;

 private:
  enum class Form { plain, decoded, json };
  struct Column {
    int field = 0;     // of the file
    std::string name;  // in the file
    Form form = Form::plain;
    std::shared_ptr<arrow::DataType> type;
  };

  std::vector<Column> columns_;
  std::vector<SourceColumn> source_;
  std::map<std::string, std::string> types_;
  std::shared_ptr<arrow::Schema> schema_;
};

// Whether the policies may change values at all.
bool changes_values(const LoadOptions& options);
// The policies on_nul, on_subsecond and on_out_of_range, for the columns that are about to be encoded. What they changed is
// counted.
std::shared_ptr<arrow::RecordBatch> apply_policies(const std::vector<EncoderColumn>& columns, const LoadOptions& options,
                                                   std::shared_ptr<arrow::RecordBatch> batch, int64_t first_row,
                                                   PolicyCounts& counts);

}  // namespace snowmelt
