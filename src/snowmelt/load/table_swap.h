// Replacing a table's content while readers go on with the old one: a staging table is filled and takes the old one's place, with
// its owner, grants, comments, indexes and their names.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "snowmelt/load/load_session.h"
#include "snowmelt/load/target_rights.h"

namespace snowmelt {

class TableSwap {
 public:
  // Null where something hangs on the table that a new one would not have: a view, a foreign key, a trigger, a policy, a
  // publication, column grants, a sequence, … Then the caller empties the table itself. What is seen holds as long as the table
  // is locked SHARE ROW EXCLUSIVE, but for views, functions and grants, which publish() looks at again.
  static std::unique_ptr<TableSwap> plan(LoadSession& session, const TargetName& target);

  // Under the lock: its indexes. False where one of them cannot be made again from its definition with the same functions and
  // operators.
  bool read_indexes();

  // "create table … (like …)" of the staging table.
  std::string staging_ddl() const;
  const std::string& staging_name() const { return staging_name_; }
  const std::string& staging() const { return staging_; }  // quoted and qualified

  // Builds the indexes after the data, locks the old table against readers too, drops it, takes its name. Readers stand behind
  // the waiting lock for settings().publish_lock_timeout at a time. Where something has come to hang on the table meanwhile, it
  // keeps its place and takes the `rows` rows over. Returns the oid that the target then has.
  std::string publish(int64_t rows);

 private:
  TableSwap(LoadSession& session, TargetName target);
  void build_indexes();
  std::string index_signature();
  void restore_owner_and_grants();
  void take_the_place();
  void fill_in_place(int64_t rows);

  // An index or a key constraint: made under a temporary name, renamed once the old one is gone.
  struct Index {
    std::string oid;  // of the index, or of its constraint
    std::string name;
    std::string temporary_name;
    std::string prefix;  // what pg_get_indexdef() puts before the method
    bool unique = false;
    bool constraint = false;
    std::string comment;
  };

  LoadSession& session_;
  const TargetName target_;
  const std::string suffix_;  // "_snowmelt_1f3a9c2e"
  const std::string staging_name_;
  const std::string staging_;
  std::vector<Index> indexes_;
  std::string signature_;  // of the indexes when they were built
};

}  // namespace snowmelt
