// Waiting for a lock without standing in others' way: short attempts, a word about who holds it, an end.
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "snowmelt/load/load_session.h"

namespace snowmelt {

// Modes of PostgreSQL that a load takes on a table, as LOCK TABLE spells them.
enum class TableLock {
  row_exclusive,        // append: others may write beside us
  share_row_exclusive,  // replace by a new table: readers go on, writers wait
  access_exclusive,     // truncate, and the moment of publishing
};

// The turn of a target: one load at a time, whatever its mode. It ends with the transaction. Waits for the other load, up to
// settings().wait, then throws LockedError naming it.
void take_turn(LoadSession& session, const std::string& display_name);
// The same for making the ledger.
void take_ledger_turn(LoadSession& session, const std::string& schema);

// `qualified` is quoted; `kind` is pg_class.relkind: a partitioned table is locked with its partitions. Attempts of at most
// settings().publish_lock_timeout, so that readers stand behind a waiting ACCESS EXCLUSIVE no longer; between them they are let
// through. Throws LockedError after settings().wait. `companion`: another connection with an open transaction that reads the
// table meanwhile. It holds ACCESS SHARE before we lock: a third session that queued between the two would wait for us, and the
// companion for it.
void lock_table(LoadSession& session, const std::string& qualified, const std::string& oid, const std::string& display_name,
                TableLock mode, char kind = 'r', PostgresConnection* companion = nullptr);

// `work` in the same short attempts, for statements that take ACCESS EXCLUSIVE on the table, its indexes or a staging table, or
// that change the same catalog rows as another session: it is undone and done again until it need not wait.
void publish_in_attempts(LoadSession& session, const std::string& display_name, const std::vector<std::string>& oids,
                         const std::function<void()>& work);

}  // namespace snowmelt
