// What can be said of a load before its first byte: the target's state, and whether it can hold the source's columns.
#pragma once

#include <arrow/api.h>

#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "snowmelt/config.h"
#include "snowmelt/connections/postgres_connection.h"
#include "snowmelt/load/type_map.h"
#include "snowmelt/storage/manifest.h"

namespace snowmelt {

class TargetCheck {
 public:
  // Looks at the target in a transaction that is rolled back. Throws PostgresError as TableLoad::look() does (create on an
  // existing table, a missing privilege, …), and for append where the ledger is somebody else's.
  TargetCheck(PostgresConnection& connection, const LoadSettings& settings, const TableConfig& table);

  // Throws one ValueError naming every column that cannot be loaded. Needs no connection any more.
  void operator()(const arrow::Schema& schema, const std::vector<SourceColumn>& source) const;

 private:
  TableConfig table_;
  bool exists_ = false;
  std::string display_name_;
  std::vector<TargetColumn> columns_;
  ExtensionTypes extensions_;
};

// Of an append table: which of these exports is in the target already, the newest one. An append that was cut off while it
// committed (its program is gone, its COMMIT goes on) is waited for, and so is another load of the table. Throws PostgresError,
// and LockedError where that wait was too long.
std::optional<std::string> landed_export(PostgresConnection& connection, const LoadSettings& settings, const TableConfig& table,
                                         const std::vector<std::string>& export_ids, const std::stop_token& stop);

}  // namespace snowmelt
