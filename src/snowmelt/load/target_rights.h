// What a load will need of the server, looked at before anything is changed: each refusal names the privilege, the object, the
// role and the statement that grants it.
#pragma once

#include <string>

#include "snowmelt/config.h"
#include "snowmelt/load/load_session.h"

namespace snowmelt {

// A target as it was found.
struct TargetName {
  std::string schema;
  std::string table;
  std::string display;    // schema.table, for messages
  std::string qualified;  // quoted
  std::string oid;        // empty: there is no such table
  char kind = 0;          // pg_class.relkind
};

// A standby, or a role, database or transaction that only reads. Throws PostgresError.
void check_server_is_writable(LoadSession& session, const TargetName& target);

// For a table that will be made: its schema is there, or may be made as settings().create_schema says, and the role may create in
// it. Throws PostgresError, for a missing schema with the nearest name.
void check_table_can_be_made(LoadSession& session, const TargetName& target);

// For a table that is there. `in_place`: a replace that cannot put a new table in its place, so that it has to empty this one.
// False where the table has gone meanwhile.
bool check_table_can_be_filled(LoadSession& session, const TargetName& target, LoadMode mode, bool in_place);

}  // namespace snowmelt
