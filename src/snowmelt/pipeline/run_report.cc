#include "snowmelt/pipeline/run_report.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <random>

#include "snowmelt/log.h"

namespace snowmelt {
namespace {

nlohmann::ordered_json to_json_value(const ReportError& error) {
  return {{"exit_code", error.exit_code}, {"kind", error.kind}, {"code", error.code}, {"message", error.message}};
}

}  // namespace

std::string_view to_string(RunStatus status) noexcept {
  switch (status) {
    case RunStatus::ok: return "ok";
    case RunStatus::failed: return "failed";
    case RunStatus::skipped: return "skipped";
    case RunStatus::interrupted: return "interrupted";
  }
  return "failed";
}

ReportError ReportError::from(const Error& error, const std::stop_token& stop) {
  const bool told = error.kind() == ErrorKind::commit_in_doubt || error.kind() == ErrorKind::interrupted;
  if (stop.stop_requested() && !told) {
    log(LogLevel::debug, "while stopping: {}", error.what());
    return from(Interrupted("run.stopped", "the run was stopped; nothing of this stays", {.where = error.where()}));
  }
  return {error.exit_code(), std::string(to_string(error.kind())), error.code(), error.what(), error.message(), error.hint()};
}

void TableReport::fail(const Error& cause, const std::stop_token& stop) {
  error = ReportError::from(cause, stop);
  status = error->exit_code == static_cast<int>(ErrorKind::interrupted) ? RunStatus::interrupted : RunStatus::failed;
}

void TableReport::note_policies(const TableProgress* progress) {
  if (progress == nullptr) return;
  const PolicyCounts& counts = progress->policies;
  for (const auto& [key, count] : {std::pair<const char*, int64_t>{"on_nul", counts.on_nul},
                                   std::pair<const char*, int64_t>{"on_out_of_range", counts.on_out_of_range},
                                   std::pair<const char*, int64_t>{"on_subsecond", counts.on_subsecond}}) {
    if (count > 0) policies[key] = count;
  }
}

int RunReport::exit_code() const {
  if (error) return error->exit_code;
  for (const TableReport& table : tables) {
    if (table.error) return table.error->exit_code;
  }
  return 0;
}

void RunReport::conclude() {
  const auto any = [&](RunStatus wanted) {
    return std::any_of(tables.begin(), tables.end(), [&](const TableReport& table) { return table.status == wanted; });
  };
  const bool stopped = error && error->exit_code == static_cast<int>(ErrorKind::interrupted);
  if (stopped || any(RunStatus::interrupted))
    status = RunStatus::interrupted;
  else if (error || !std::all_of(tables.begin(), tables.end(), [](const TableReport& table) { return table.is_done(); }))
    status = RunStatus::failed;
  else
    status = RunStatus::ok;
}

std::string RunReport::to_json() const {
  nlohmann::ordered_json report = {{"run_id", run_id}, {"status", to_string(status)}, {"logins", logins}};
  report["tables"] = nlohmann::ordered_json::array();
  for (const TableReport& table : tables) {
    nlohmann::ordered_json entry = {{"source", table.source},
                                    {"target", table.target},
                                    {"rows", table.rows},
                                    {"bytes", table.bytes},
                                    {"seconds", table.seconds},
                                    {"parts", table.parts},
                                    {"status", to_string(table.status)}};
    if (!table.reason.empty()) entry["reason"] = table.reason;
    if (!table.policies.empty()) entry["policies"] = table.policies;
    if (table.error) entry["error"] = to_json_value(*table.error);
    report["tables"].push_back(std::move(entry));
  }
  report["seconds"] = seconds;
  if (error) report["error"] = to_json_value(*error);
  if (!go_on.empty()) report["go_on"] = go_on;
  return report.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

std::string new_run_id() {
  std::random_device random;
  return fmt::format("{:%Y%m%dT%H%M%SZ}-{:06x}", fmt::gmtime(std::time(nullptr)), random() & 0xffffffu);
}

}  // namespace snowmelt
