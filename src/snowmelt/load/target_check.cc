#include "snowmelt/load/target_check.h"

#include "snowmelt/error.h"
#include "snowmelt/load/batch_adapter.h"
#include "snowmelt/load/load_mode.h"

namespace snowmelt {

namespace {

// `look(load)` at the target, in a transaction that is rolled back.
template <typename Look>
void look_at(PostgresConnection& connection, const LoadSettings& settings, const TableConfig& table, const std::stop_token& stop,
             Look&& look) {
  begin_load(connection);
  try {
    LoadSession session(connection, settings, {.progress = nullptr, .stop = stop});
    TableLoad load(session, table.target, table.mode);
    look(load);
  } catch (...) {
    if (connection.is_open()) connection.rollback();
    throw;
  }
  connection.rollback();
}

}  // namespace

TargetCheck::TargetCheck(PostgresConnection& connection, const LoadSettings& settings, const TableConfig& table) : table_(table) {
  look_at(connection, settings, table, {}, [&](TableLoad& load) {
    load.look();
    exists_ = load.exists();
    display_name_ = load.display_name();
    columns_ = load.columns();
    if (!exists_) extensions_ = load.extension_types();
    if (table.mode == LoadMode::append) load.loaded_of({});  // whether the ledger may be used
  });
}

void TargetCheck::operator()(const arrow::Schema& schema, const std::vector<SourceColumn>& source) const {
  const BatchAdapter adapter(schema, source, table_.rules);
  if (exists_)
    map_columns(*adapter.schema(), adapter.source_columns(), columns_, display_name_);
  else
    plan_new_table(*adapter.schema(), adapter.source_columns(), table_.rules.integers, adapter.types(), extensions_);
}

std::optional<std::string> landed_export(PostgresConnection& connection, const LoadSettings& settings, const TableConfig& table,
                                         const std::vector<std::string>& export_ids, const std::stop_token& stop) {
  if (export_ids.empty()) return std::nullopt;
  std::optional<std::string> landed;
  // Two transactions: a serializable one would not see what was committed while it waited.
  look_at(connection, settings, table, stop, [](TableLoad& load) { load.take_turn(); });
  look_at(connection, settings, table, stop, [&](TableLoad& load) { landed = load.loaded_of(export_ids); });
  return landed;
}

}  // namespace snowmelt
