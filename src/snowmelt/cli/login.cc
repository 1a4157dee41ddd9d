#include "snowmelt/cli/login.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <cstdio>
#include <ctime>
#include <nlohmann/json.hpp>
#include <optional>

#include "snowmelt/connections/login_lock.h"
#include "snowmelt/connections/snowflake_connection.h"
#include "snowmelt/pipeline/run_report.h"

namespace snowmelt {
namespace {

// What the next process will find.
struct Outlook {
  bool asks_nobody = false;
  std::optional<std::time_t> until;  // unknown: not told by the server, or for ever
  std::string problem;               // why the next process asks again, with the remedy
};

Outlook outlook_of(const SnowflakeConfig& config, const SnowflakeDriver::Session& session) {
  if (!needs_person(config)) return {.asks_nobody = true, .until = {}, .problem = {}};
  if (!config.client_store_temporary_credential) {
    return {.asks_nobody = false, .until = {}, .problem = "client_store_temporary_credential = false keeps nothing"};
  }
  if (!session.cache_problem.empty()) return {.asks_nobody = false, .until = {}, .problem = session.cache_problem};
  if (session.login_kind == "externalbrowser" || session.login_kind == "id_token") {
    if (session.id_token_validity_s <= 0) {
      return {.asks_nobody = session.login_kind == "id_token",
              .until = {},
              .problem = session.login_kind == "id_token"
                             ? ""
                             : "the account gives no id tokens; an administrator can set ALLOW_ID_TOKEN = true"};
    }
    return {.asks_nobody = true, .until = std::time(nullptr) + session.id_token_validity_s, .problem = {}};
  }
  return {.asks_nobody = true, .until = {}, .problem = {}};
}

std::string text_of(const SnowflakeConfig& config, const SnowflakeDriver::Session& session, const Outlook& outlook) {
  std::string text = fmt::format("logged in to {} as {} ({})\n", config.account, config.user, session.login_kind);
  if (!needs_person(config)) return text + "this method asks nobody: there is nothing to keep\n";
  if (!outlook.problem.empty()) return text + "the next login will ask again: " + outlook.problem + "\n";
  if (outlook.until)
    return text + fmt::format("kept: the next login asks nobody until {:%Y-%m-%d %H:%M %Z}\n", fmt::localtime(*outlook.until));
  return text + "kept: the next login asks nobody\n";
}

std::string json_of(const SnowflakeConfig& config, const SnowflakeDriver::Session& session, const Outlook& outlook) {
  nlohmann::ordered_json report = {{"status", "ok"},
                                   {"account", config.account},
                                   {"user", config.user},
                                   {"authenticator", config.authenticator},
                                   {"login_kind", session.login_kind},
                                   {"next_login_asks_nobody", outlook.asks_nobody},
                                   {"valid_until", nullptr},
                                   {"problem", nullptr}};
  if (outlook.until) report["valid_until"] = fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(*outlook.until));
  if (!outlook.problem.empty()) report["problem"] = outlook.problem;
  return report.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace

std::string login(const SnowflakeConfig& config, const LoginCommand& command, std::stop_token stop) {
  SnowflakeConnectionManager manager(config);
  manager.set_stop_token(std::move(stop));
  if (command.check) manager.set_ask_person(SnowflakeConnectionManager::AskPerson::never);
  const SnowflakeDriver::Session session = manager.get_snowflake_connection()->session();
  manager.close();
  const Outlook outlook = outlook_of(config, session);
  return command.json ? json_of(config, session, outlook) : text_of(config, session, outlook);
}

std::string failed_login_json(const Error& error) {
  const ReportError report = ReportError::from(error);
  const nlohmann::ordered_json json = {
      {"status", "failed"},
      {"error", {{"exit_code", report.exit_code}, {"kind", report.kind}, {"code", report.code}, {"message", report.message}}}};
  return json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

}  // namespace snowmelt
