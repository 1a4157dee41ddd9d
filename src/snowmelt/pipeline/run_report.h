// What a run did, as data: the summary table and --json are both written from it.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "snowmelt/error.h"
#include "snowmelt/progress.h"

namespace snowmelt {

enum class RunStatus { ok, failed, skipped, interrupted };
std::string_view to_string(RunStatus status) noexcept;

struct ReportError {
  int exit_code = 0;
  std::string kind;
  std::string code;
  std::string message;   // the whole text, place and remedy included
  std::string sentence;  // what happened, without place and remedy: equal in equal failures
  std::string hint;

  // Whatever fails once the run is stopped fails because of that and is "interrupted". Only a COMMIT in doubt stays one, since
  // it may have kept something.
  static ReportError from(const Error& error, const std::stop_token& stop = {});
};

struct TableReport {
  std::string source;  // the folded name, or the query's name
  std::string target;  // empty for an export
  int64_t rows = 0;
  int64_t bytes = 0;  // of the Parquet parts
  double seconds = 0;
  int64_t parts = 0;
  RunStatus status = RunStatus::skipped;
  std::string reason;                       // of a table that is skipped because nothing of it is left to do
  std::map<std::string, int64_t> policies;  // values that a policy changed, by its key; without those that never fired
  std::optional<ReportError> error;

  void note_policies(const TableProgress* progress);
  void fail(const Error& error, const std::stop_token& stop = {});  // sets status and error
  bool is_done() const { return status == RunStatus::ok || (status == RunStatus::skipped && !reason.empty()); }
};

// The code of the run's error where no server could be reached for several tables in a row.
inline constexpr const char* kUnreachable = "run.unreachable";

struct RunReport {
  std::string run_id;
  RunStatus status = RunStatus::ok;
  int64_t logins = 0;
  std::vector<TableReport> tables;
  double seconds = 0;
  std::optional<ReportError> error;  // what stopped the run before its (other) tables: configuration, login, no server
  std::string go_on;                 // the command that does the rest, where the run was stopped; empty: not known

  // Whether tables were not tried for want of a server; then `error` tells of them.
  bool is_unreachable() const { return error && error->code == kUnreachable; }
  // The first failure's; 0 when all is done.
  int exit_code() const;
  // Status from the tables' and the run's own error.
  void conclude();
  std::string to_json() const;
};

// Sortable and unique: "20261123T235001Z-1f3a9c".
std::string new_run_id();

}  // namespace snowmelt
