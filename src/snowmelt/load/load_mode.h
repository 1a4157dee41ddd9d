// What each load mode does around COPY: look at the target, make or empty it, publish. All inside the open transaction of
// the connection, so that a rollback (to a savepoint) undoes everything.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "snowmelt/config.h"
#include "snowmelt/connections/postgres_connection.h"
#include "snowmelt/load/type_map.h"

namespace snowmelt {

class StagingTable;
class TableSwap;

class TableLoad {
 public:
  // Looks at `target` ("schema.table", names as PostgreSQL folds them; without a schema the first one of search_path that
  // has the table, else the one new tables go to). Throws PostgresError before any change: create on an existing table,
  // truncate or append on a missing one, a view, foreign table or other relation that cannot be loaded.
  TableLoad(PostgresConnection& connection, const std::string& target, LoadMode mode);
  ~TableLoad();

  // False: the caller plans the table with plan_new_table().
  bool exists() const { return !oid_.empty(); }
  const std::vector<TargetColumn>& columns() const { return columns_; }
  const std::string& display_name() const { return display_name_; }  // schema.table, for messages

  // What extensions call their types here.
  ExtensionTypes extension_types();

  // append only: whether this export is in the target already (the ledger knows). A second process that loads into the same
  // target meanwhile waits here.
  bool already_loaded(const std::string& export_id);

  // Until the transaction's end no other append into the target begins; waits for one that has, with a warning.
  void wait_for_turn();
  // The newest of these exports (plain words without commas) that the ledger has for the target.
  std::optional<std::string> loaded_of(const std::vector<std::string>& export_ids);

  // Makes the table (`new_table`, when it does not exist; a missing schema too) or the staging table, or empties the table.
  // Returns the statement for copy_in() over `columns` (names in file order): FREEZE where this transaction made the table.
  std::string prepare(const std::vector<NewColumn>& new_table, const std::vector<std::string>& columns);

  // Whether several connections may fill a staging table that takes the target's place at the end: the target is new, or is
  // replaced and plain. The other modes are for one transaction.
  bool can_stage();
  const std::string& schema() const { return schema_; }
  // Instead of prepare(): the staging table is made and committed by `staging`'s connection; writers of the target wait from now
  // on. Returns the statement for copy_in() of every connection.
  std::string stage(StagingTable& staging, const std::vector<NewColumn>& new_table, const std::vector<std::string>& columns);

  // After COPY has ended and the counts agree: puts the staging table in the target's place, or writes the ledger's row. A table
  // that prepare() made gets what `metadata` (in PostgreSQL's names) says: a key that the data does not keep is a warning.
  void publish(const std::string& export_id, int64_t rows, const TableMetadata& metadata = {});

 private:
  void find(const std::string& target);
  void refuse_or_accept();
  void read_columns(PostgresConnection& connection);
  std::string table_ddl(const std::string& qualified, const std::vector<NewColumn>& new_table) const;
  std::string ledger() const;  // quoted
  bool has_ledger();
  bool schema_exists();
  void make_table(const std::vector<NewColumn>& new_table);
  void empty_table();
  void add_primary_key(const std::vector<std::string>& columns);
  void add_comments(const TableMetadata& metadata);

  PostgresConnection& connection_;
  LoadMode mode_;
  std::string schema_;
  std::string table_;
  std::string display_name_;
  std::string qualified_;  // quoted
  std::string oid_;        // empty: there is no such table
  char kind_ = 0;          // pg_class.relkind
  std::vector<TargetColumn> columns_;
  bool made_here_ = false;
  std::string staging_;              // a new table's, quoted, until it gets its name
  std::unique_ptr<TableSwap> swap_;  // null when COPY goes straight into the target
};

}  // namespace snowmelt
