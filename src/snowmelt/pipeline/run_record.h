// What unfinished runs have begun in an export directory, so that the next run adds no rows a second time.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "snowmelt/config.h"

namespace snowmelt {

// The file .last-run.json beside the tables' directories. A run lists its tables there, and each append's export id before
// its rows can be committed; PostgreSQL's ledger then knows which of those exports it has. A run is over, and leaves the file,
// when all its tables are done, be it by later runs. Runs at the same time share the file under a lock.
class RunRecord {
 public:
  // Reads the file. Throws FileError: unreadable or damaged; the hint says what to look at before deleting it.
  RunRecord(std::filesystem::path directory, std::string run_id);

  // Exports of this source or query that unfinished runs have begun, whatever their target was.
  std::vector<std::string> begun_exports(const TableConfig& table) const;
  // Where they are written down.
  std::filesystem::path file() const;

  // The tables are not done. Runs that left one of them undone are carried on. Writes nothing for a run without append that
  // carries on none. Throws FileError, as the others do.
  void begin(const std::vector<TableConfig>& tables);
  // Durable when it returns: from then on the export's rows may be committed. Any thread.
  void begin_export(const TableConfig& table, const std::string& export_id);
  // `done[i]` of `tables[i]`. Undone tables that `configured` (by name) has no more are given up.
  void finish(const std::vector<TableConfig>& tables, const std::vector<bool>& done, const std::vector<TableConfig>& configured);

 private:
  struct Table {
    std::string name;
    std::string target;         // for people: the ledger knows where the rows went
    std::string content;        // SHA-256 of the source or query
    std::string run;            // ends together with the others of this run
    std::string last_begun_by;  // the run that may call it done
    bool done = false;
    std::vector<std::string> exports;  // that may be in the target
  };
  using Tables = std::vector<Table>;

  static std::string content_of(const TableConfig& table);
  static std::string text_of(const Tables& tables);
  static Tables parse(const std::string& text);
  Tables read() const;
  void write(const Tables& tables) const;
  // Under the lock: reads, lets `change` change, writes where it returns true.
  void update(const std::function<bool(Tables&)>& change) const;

  const std::filesystem::path directory_;
  const std::string run_id_;
  Tables found_;
  bool begun_ = false;
};

}  // namespace snowmelt
