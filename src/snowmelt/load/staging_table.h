// A committed table beside the target that several connections fill, until one transaction puts it in the target's place.
#pragma once

#include <string>

#include "snowmelt/connections/postgres_connection.h"

namespace snowmelt {

class StagingTable {
 public:
  // `side` makes and drops the table; its session holds the lock that tells others that the load is alive. `display_name` is the
  // target's. Drops what dead loads into this target have left behind.
  StagingTable(PostgresConnection& side, std::string schema, std::string display_name);
  ~StagingTable();  // drops the table unless it was published
  StagingTable(const StagingTable&) = delete;
  StagingTable& operator=(const StagingTable&) = delete;

  // `ddl` makes "<schema>.<name>".
  void create(const std::string& name, const std::string& ddl);
  const std::string& qualified() const { return qualified_; }
  PostgresConnection& side() { return side_; }
  // The table has another name now, or is the target itself.
  void published() { made_ = false; }

 private:
  std::string mark() const;
  void drop_leftovers();

  PostgresConnection& side_;
  const std::string schema_;
  const std::string display_name_;
  std::string qualified_;
  bool made_ = false;
};

}  // namespace snowmelt
