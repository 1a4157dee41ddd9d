// What each load mode does around COPY: look at the target, make or empty it, publish. All inside the open transaction of
// the session, so that a rollback (to a savepoint) undoes everything.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "snowmelt/config.h"
#include "snowmelt/load/load_ledger.h"
#include "snowmelt/load/load_session.h"
#include "snowmelt/load/target_rights.h"
#include "snowmelt/load/type_map.h"

namespace snowmelt {

class StagingTable;
class TableSwap;

class TableLoad {
 public:
  // `target`: "schema.table", names as PostgreSQL folds them; without a schema the first one of search_path that has the table,
  // else the one new tables go to. Asks nothing yet but that.
  TableLoad(LoadSession& session, const std::string& target, LoadMode mode);
  ~TableLoad();
  TableLoad(const TableLoad&) = delete;
  TableLoad& operator=(const TableLoad&) = delete;

  // Looks at the target without a lock: a check before the login. Throws PostgresError before any change: create on an existing
  // table, truncate or append on a missing one, a view, foreign table or other relation that cannot be loaded, a server that only
  // reads, a missing schema or privilege.
  void look();

  // No other load of the target goes on until the transaction ends; waits for one that does. Drops what dead loads have left.
  void take_turn();
  // Locks the table, if there is one, for what the mode does, and then looks: what is decided from now on holds to the end.
  // Readers go on, but under truncate, and under a replace that has to empty the table itself: those hold ACCESS EXCLUSIVE for
  // the whole load. `companion` is the connection that will make the staging table: it holds ACCESS SHARE before we lock, since a
  // third session that queues between the two would stop both.
  void lock(PostgresConnection* companion = nullptr);

  // After look() or lock(). False: the caller plans the table with plan_new_table().
  bool exists() const { return !target_.oid.empty(); }
  const std::vector<TargetColumn>& columns() const { return columns_; }
  const std::string& display_name() const { return target_.display; }  // schema.table, for messages
  const TargetName& target() const { return target_; }

  // What extensions call their types here.
  ExtensionTypes extension_types();

  // append only, after lock(): whether this export is in the target already. Without a ledger that can be used it is false, with
  // a warning; a ledger of somebody else is refused.
  bool already_loaded(const std::string& export_id);
  // The newest of these exports (plain words without commas) that the ledger has for the target.
  std::optional<std::string> loaded_of(const std::vector<std::string>& export_ids);

  // Makes the table (`new_table`, when it does not exist; a missing schema too) or the staging table, or empties the table.
  // Returns the statement for copy_in() over `columns` (names in file order): FREEZE where this transaction made the table. The
  // session is the user's then. Null where somebody else has made the table meanwhile, under replace: lock() again.
  std::optional<std::string> prepare(const std::vector<NewColumn>& new_table, const std::vector<std::string>& columns);

  // Whether several connections may fill a staging table that takes the target's place at the end: the target is new, or is
  // replaced and plain. The other modes are for one transaction. Before lock() it is a guess.
  bool can_stage();
  // Instead of prepare(): the staging table is made and committed by `side`, which reads the target's shape. Fills `copy` with
  // the statement for copy_in() of every connection.
  std::unique_ptr<StagingTable> stage(std::shared_ptr<PostgresConnection> side, const std::vector<NewColumn>& new_table,
                                      const std::vector<std::string>& columns, std::string& copy);

  // After COPY has ended and the counts agree: puts the staging table in the target's place, or writes the ledger's row. A table
  // that prepare() made gets what `metadata` (in PostgreSQL's names) says: a key that the data does not keep is a warning.
  void publish(const std::string& export_id, int64_t rows, const TableMetadata& metadata = {});

  // Triggers that can leave a row out without an error, for a message; empty: none.
  std::string skipping_triggers();

 private:
  void find();
  void refuse_or_accept() const;
  bool look_at_what_was_found(bool locked);  // false: it has gone
  void read_columns();
  std::string table_ddl(const std::string& qualified, const std::vector<NewColumn>& new_table) const;
  bool schema_exists();
  void make_table(const std::vector<NewColumn>& new_table);
  void empty_table();
  void add_primary_key(const std::vector<std::string>& columns);
  void add_comments(const TableMetadata& metadata);
  void name_staging_table();
  void write_ledger(const std::string& export_id, int64_t rows, const std::string& new_oid);

  LoadSession& session_;
  const LoadMode mode_;
  const std::string written_;  // the target as the user wrote it
  TargetName target_;
  std::vector<TargetColumn> columns_;
  bool made_here_ = false;
  std::string staging_;              // a new table's, quoted, until it gets its name
  std::unique_ptr<TableSwap> swap_;  // null when COPY goes straight into the target
};

// Makes the ledger in a transaction of its own, where it is missing and may be made: within a load's own transaction, every other
// first load would wait for its end. Only outside a transaction.
void make_ledger(PostgresConnection& connection, const LoadSettings& settings, const LoadWaiter& waiter);

}  // namespace snowmelt
