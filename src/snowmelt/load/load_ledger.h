// snowmelt's own tables in PostgreSQL ([postgres] ledger_schema): which exports are in a table, and which tables it made. Tables
// are known by oid, so that another table of the same name is another table.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "snowmelt/load/load_session.h"

namespace snowmelt {

class LoadLedger {
 public:
  // Looks whether the ledger can be used: its schema and tables are there, belong to the current role, a role it is a member of,
  // or a superuser, are what we made, and may be read and written. Where not, reason() says why.
  explicit LoadLedger(LoadSession& session);

  // Makes what is missing where the role may. In the transaction that is open: best a short one of its own, for another first
  // load waits for its end.
  void make();

  bool usable() const { return problem_ == Problem::none; }
  bool missing() const { return problem_ == Problem::missing; }
  // Somebody else made something of that name: PostgresError naming ledger_schema.
  [[noreturn]] void throw_foreign(const std::string& display_name) const;
  bool foreign() const { return problem_ == Problem::foreign; }
  // "role "ana" may not make schema "snowmelt"; an administrator can: create schema …": the sentence and the SQL to paste.
  const std::string& reason() const { return reason_; }

  // All below need usable(). `oid` is the target's.

  // The newest of these exports that is in the table. Throws PostgresError where the table was emptied or rewritten since by
  // somebody else, so that nobody can tell.
  std::optional<std::string> loaded_of(const std::string& oid, const std::vector<std::string>& export_ids,
                                       const std::string& display_name);
  void note_load(const std::string& oid, const std::string& display_name, const std::string& export_id, int64_t rows);
  // The table was emptied by us.
  void forget_loads(const std::string& oid);
  void note_made(const std::string& oid, const std::string& display_name);
  // A replace has put `to` in the place of `from`; whether we made it stays what it was.
  void replaced(const std::string& from, const std::string& to);

 private:
  enum class Problem { none, missing, foreign, forbidden };
  void look();
  void set(Problem problem, std::string reason);
  std::string table(const char* name) const;  // quoted and qualified
  std::string files_of(const std::string& oid);

  LoadSession& session_;
  const std::string schema_;  // as given, and quoted
  const std::string quoted_;
  Problem problem_ = Problem::missing;
  std::string reason_;
};

}  // namespace snowmelt
