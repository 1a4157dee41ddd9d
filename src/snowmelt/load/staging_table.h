// A committed table beside the target that several connections fill, until one transaction puts it in the target's place.
#pragma once

#include <string>

#include "snowmelt/connections/postgres_connection.h"
#include "snowmelt/load/load_session.h"
#include "snowmelt/load/target_rights.h"

namespace snowmelt {

// "orders_snowmelt_1f3a9c2e": a name that no other load uses, within PostgreSQL's 63 bytes.
std::string new_staging_name(const std::string& table);

// Drops what dead loads of the target have left behind. Whoever holds the target's turn knows that they are dead. What cannot be
// dropped, and what belongs to another role, is a warning.
void sweep_leftovers(LoadSession& session, const TargetName& target);

class StagingTable {
 public:
  // `ddl` makes "<schema>.<name>" on `side`, whose transaction is committed. The load that makes it holds the target's turn until
  // it is published or discarded.
  StagingTable(std::shared_ptr<PostgresConnection> side, const TargetName& target, const std::string& name,
               const std::string& ddl);
  StagingTable(const StagingTable&) = delete;
  StagingTable& operator=(const StagingTable&) = delete;

  const std::string& qualified() const { return qualified_; }
  // After a failure: drops it. Where that fails the next load does, and the log says so.
  void discard() noexcept;

 private:
  std::shared_ptr<PostgresConnection> side_;
  const std::string display_name_;
  const std::string qualified_;
};

}  // namespace snowmelt
