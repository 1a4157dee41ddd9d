#include "snowmelt/load/target_check.h"

#include "snowmelt/error.h"
#include "snowmelt/load/batch_adapter.h"
#include "snowmelt/load/load_mode.h"

namespace snowmelt {

TargetCheck::TargetCheck(PostgresConnection& connection, const TableConfig& table) : table_(table) {
  connection.begin();
  try {
    TableLoad load(connection, table.target, table.mode);
    exists_ = load.exists();
    display_name_ = load.display_name();
    columns_ = load.columns();
    if (!exists_) extensions_ = load.extension_types();
  } catch (...) {
    if (connection.is_open()) connection.rollback();
    throw;
  }
  connection.rollback();
}

void TargetCheck::operator()(const arrow::Schema& schema, const std::vector<SourceColumn>& source) const {
  const BatchAdapter adapter(schema, source, table_.rules);
  if (exists_)
    map_columns(*adapter.schema(), adapter.source_columns(), columns_, display_name_);
  else
    plan_new_table(*adapter.schema(), adapter.source_columns(), table_.rules.integers, adapter.types(), extensions_);
}

}  // namespace snowmelt
