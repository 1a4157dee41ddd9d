// Replacing a table's content while readers go on with the old one: a staging table is filled and takes the old one's place, with
// its owner, grants, comments, indexes and their names.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "snowmelt/connections/postgres_connection.h"

namespace snowmelt {

// "orders_snowmelt_1f3a9c2e": a name that no other load uses, within PostgreSQL's 63 bytes.
std::string new_staging_name(const std::string& table);

class TableSwap {
 public:
  // Null where something hangs on the table that a new one would not have: a view, a foreign key, a trigger, a policy, a
  // publication, column grants, a sequence, … Then the caller empties the table itself.
  static std::unique_ptr<TableSwap> plan(PostgresConnection& connection, const std::string& oid, const std::string& schema,
                                         const std::string& table);

  // Locks the old table against writers (readers go on) and makes the staging table.
  void make_staging();
  // The two halves of it, for a staging table that another connection makes and others fill.
  void lock_target();
  std::string staging_ddl() const;
  const std::string& staging_name() const { return staging_name_; }
  const std::string& staging() const { return staging_; }  // quoted and qualified

  // Builds the indexes after the data, drops the old table, takes its name.
  void publish();

 private:
  TableSwap(PostgresConnection& connection, std::string oid, const std::string& schema, const std::string& table);
  void build_indexes();
  void restore_owner_and_grants();

  // An index or a key constraint: made under a temporary name, renamed once the old one is gone.
  struct Index {
    std::string name;
    std::string temporary_name;
    std::string definition;  // what follows "create … index <name> on <table>", or "add constraint <name>"
    bool unique = false;
    bool constraint = false;
    std::string comment;
  };

  PostgresConnection& connection_;
  std::string oid_;
  std::string schema_;
  std::string table_;
  std::string suffix_;  // "_snowmelt_1f3a9c2e"
  std::string target_;
  std::string staging_name_;
  std::string staging_;
  std::vector<Index> indexes_;
};

}  // namespace snowmelt
