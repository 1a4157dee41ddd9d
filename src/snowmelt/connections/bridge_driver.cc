// SnowflakeDriver over the Go bridge: JSON to results and to snowmelt's errors.
#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <mutex>
#include <optional>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "snowmelt/connections/bridge_library.h"
#include "snowmelt/connections/bridge_result.h"
#include "snowmelt/connections/login_lock.h"
#include "snowmelt/connections/snowflake_connection.h"
#include "snowmelt/connections/snowflake_settings.h"
#include "snowmelt/error.h"
#include "snowmelt/log.h"

namespace snowmelt {
namespace {

using Json = nlohmann::json;

// The address that a person has to open to log in.
struct LoginPrompt {
  std::string url;
  int port = 0;          // where the browser comes back to on localhost: the port to forward from another machine
  bool browser = false;  // a browser was started as well
};

void log_prompt(const LoginPrompt& prompt) {
  const char* how = prompt.browser ? "a browser was opened; if none appears, open" : "there is no browser here; open";
  std::string text = fmt::format("Snowflake login: {} this address: {}", how, prompt.url);
  if (!prompt.browser && prompt.port) {
    text += fmt::format(
        "\n  From another machine forward port {0} first (ssh -L {0}:localhost:{0} …), or use authenticator = "
        "\"snowflake_jwt\" or \"programmatic_access_token\", which need no browser.",
        prompt.port);
  }
  log_message(LogLevel::warning, text);
}

void on_event(const char* event_json) noexcept {
  try {
    const Json event = Json::parse(event_json);
    if (event.at("event") == "warning") log_message(LogLevel::warning, event.at("message").get<std::string>());
    if (event.at("event") != "sso_url") return;
    log_prompt({event.at("url"), event.value("port", 0), event.value("browser", false)});
  } catch (...) {
    // Called from Go, through which no exception can pass; the login itself goes on.
  }
}

ErrorKind kind_of(const std::string& name) {
  static const std::map<std::string, ErrorKind> kinds = {{"authentication", ErrorKind::authentication},
                                                         {"connection", ErrorKind::connection},
                                                         {"query", ErrorKind::query},
                                                         {"verification", ErrorKind::verification},
                                                         {"configuration", ErrorKind::configuration},
                                                         {"interrupted", ErrorKind::interrupted}};
  const auto found = kinds.find(name);
  return found == kinds.end() ? ErrorKind::bug : found->second;
}

// The remedy by Snowflake's number, else by what happened.
std::string hint_for(int number, const std::string& reason, const std::string& key) {
  if (number == 390100) return "check user and password (snowmelt tries once only: more attempts lock the account)";
  if (number == 390144 || (number >= 394300 && number <= 394306)) {
    return "check that the public half of private_key_file belongs to this user (ALTER USER … SET RSA_PUBLIC_KEY), that "
           "account is right, and this machine's clock";
  }
  if (number == 390303 || number == 390318) return "the token is invalid or has expired: get a new one for token";
  if (number == 390189) return "check role: it does not exist or is not granted to this user";
  if (number == 390201) return "check database, schema and warehouse: one does not exist or the role may not use it";
  if (!key.empty()) return fmt::format("change {} in [snowflake]", key);
  if (reason == "unreachable") return "check account (or host and port), the network, and proxy_host where there is a proxy";
  if (reason == "insecure") return "check account and host, and what stands between: the answer led to an address without TLS";
  if (reason == "bad_sso_url" || reason == "answer_too_large") return "check account and host; this is no answer of Snowflake's";
  if (reason == "answer_too_slow") return "check the network and what stands between, and run again";
  if (reason == "login_refused") return "check account, user and authenticator";
  if (reason == "person_needed") return "run snowmelt login at a terminal, then the same command again";
  if (reason == "browser_failed") {
    return "log in again, or use authenticator = \"snowflake_jwt\" or \"programmatic_access_token\", which need no browser";
  }
  if (number == 606) return "set warehouse, or give the user a default warehouse";
  return {};
}

[[noreturn]] void throw_bridge_error(const Json& error, const std::string& where) {
  const std::string reason = error.value("reason", "bug");
  ErrorFacts facts;
  facts.where = where;
  facts.vendor_code = error.value("code", 0);
  facts.sqlstate = error.value("sqlstate", "");
  facts.query_id = error.value("query_id", "");
  facts.connection_lost = error.value("connection_lost", false);
  facts.nothing_sent = error.value("nothing_sent", false);
  facts.hint = hint_for(facts.vendor_code, reason, error.value("key", ""));
  throw_error(kind_of(error.value("kind", "bug")), "snowflake." + reason, error.value("message", ""), std::move(facts));
}

// Takes the text over and frees it on Go's side; throws the error it may hold.
Json parse_answer(const BridgeFunctions& bridge, char* text, const std::string& where) {
  const std::unique_ptr<char, void (*)(char*)> owned(text, bridge.free);
  Json answer = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (answer.is_discarded()) throw BugError("snowflake.bug", "the bridge's answer is not JSON", {.where = where});
  if (answer.contains("error")) throw_bridge_error(answer["error"], where);
  return answer;
}

std::string options_json(const SnowflakeConfig& config, bool ask_person) {
  return Json{{"ask_person", ask_person},
              {"account", config.account},
              {"user", config.user},
              {"password", config.password.reveal()},
              {"authenticator", config.authenticator},
              {"database", config.database},
              {"schema", config.schema},
              {"warehouse", config.warehouse},
              {"role", config.role},
              {"private_key_file", config.private_key_file},
              {"private_key_file_pwd", config.private_key_file_pwd.reveal()},
              {"token", config.token.reveal()},
              {"token_file_path", config.token_file_path},
              {"passcode", config.passcode.reveal()},
              {"oauth_client_id", config.oauth_client_id},
              {"oauth_client_secret", config.oauth_client_secret.reveal()},
              {"oauth_authorization_url", config.oauth_authorization_url},
              {"oauth_token_request_url", config.oauth_token_request_url},
              {"oauth_redirect_uri", config.oauth_redirect_uri},
              {"oauth_scope", config.oauth_scope},
              {"workload_identity_provider", config.workload_identity_provider},
              {"workload_identity_entra_resource", config.workload_identity_entra_resource},
              {"host", config.host},
              {"port", config.port},
              {"protocol", config.protocol},
              {"proxy_host", config.proxy_host},
              {"proxy_port", config.proxy_port},
              {"proxy_user", config.proxy_user},
              {"proxy_password", config.proxy_password.reveal()},
              {"no_proxy", config.no_proxy},
              {"login_timeout", config.login_timeout},
              {"external_browser_timeout", config.external_browser_timeout},
              {"client_session_keep_alive", config.client_session_keep_alive},
              {"client_store_temporary_credential", config.client_store_temporary_credential},
              {"session_parameters", session_parameters(config)}}
      .dump();
}

// The bridge puts the directory it decided for into the environment when it is loaded (bridge/environ).
std::filesystem::path credential_cache() {
  const char* directory = std::getenv("SF_TEMPORARY_CREDENTIAL_CACHE_DIR");
  return directory == nullptr ? "" : directory;
}

class BridgeDriver : public SnowflakeDriver {
 public:
  Session open(const SnowflakeConfig& config, const LoginOptions& options) override {
    const std::stop_token& stop = options.stop;
    const std::string where = config.host.empty() ? config.account : fmt::format("{} ({})", config.account, config.host);
    refuse_stopped(stop, where);
    const BridgeFunctions& bridge = bridge_functions();
    bridge.set_event_callback(on_event);
    std::optional<LoginLock> one_at_a_time;
    if (options.ask_person && shares_login(config)) one_at_a_time.emplace(config, credential_cache(), stop);
    const int64_t id = ++last_id_;
    const std::stop_callback cancel(stop, [&] { bridge.cancel_login(id); });
    const Json answer = parse_answer(bridge, bridge.open(options_json(config, options.ask_person).c_str(), id), where);
    Session session{answer.at("session"), answer.at("login_kind"), answer.at("id_token_validity_s"),
                    answer.at("master_validity_s"), answer.at("credential_cache").at("problem")};
    const std::scoped_lock lock(places_mutex_);
    places_[session.handle] = where;
    return session;
  }

  StatementResult execute(int64_t session, const Statement& statement) override {
    Json bindings = Json::array();
    for (const Value& value : statement.parameters) bindings.push_back(value ? Json(*value) : Json());
    const Json request{{"sql", statement.sql},
                       {"bindings", std::move(bindings)},
                       {"query_tag", statement.query_tag},
                       {"async", statement.asynchronous},
                       {"describe_only", statement.describe_only}};
    // Text that is not UTF-8 reaches the server as it can, and the server refuses it with its own words.
    const std::string text = request.dump(-1, ' ', false, Json::error_handler_t::replace);
    const Json answer = run(session, statement.stop,
                            [&](const BridgeFunctions& bridge, int64_t id) { return bridge.execute(session, id, text.c_str()); });
    return parse_result(answer, place(session), statement.describe_only ? RowCheck::described : RowCheck::all_rows);
  }

  StatementResult result(int64_t session, const std::string& query_id, std::stop_token stop) override {
    const Json answer = run(
        session, stop, [&](const BridgeFunctions& bridge, int64_t id) { return bridge.result(session, id, query_id.c_str()); });
    return parse_result(answer, place(session), RowCheck::all_rows);
  }

  void ping(int64_t session, std::stop_token stop) override {
    run(session, stop, [&](const BridgeFunctions& bridge, int64_t id) { return bridge.ping(session, id); });
  }

  void close(int64_t session) noexcept override {
    try {
      const BridgeFunctions& bridge = bridge_functions();
      const std::string where = place(session);
      {
        const std::scoped_lock lock(places_mutex_);
        places_.erase(session);
      }
      parse_answer(bridge, bridge.close(session), where);
    } catch (const std::exception& error) {
      log(LogLevel::debug, "closing a Snowflake session: {}", error.what());
    }
  }

 private:
  template <typename Call>
  Json run(int64_t session, const std::stop_token& stop, Call&& call) {
    const std::string where = place(session);
    refuse_stopped(stop, where);
    const BridgeFunctions& bridge = bridge_functions();
    const int64_t id = ++last_id_;
    // Gone before this function returns, so no id is cancelled after its call.
    const std::stop_callback cancel(stop, [&] { bridge.cancel(id); });
    return parse_answer(bridge, call(bridge, id), where);
  }

  static void refuse_stopped(const std::stop_token& stop, const std::string& where) {
    if (stop.stop_requested()) {
      throw Interrupted("snowflake.interrupted", "stopped before anything was sent", {.where = where, .nothing_sent = true});
    }
  }

  std::string place(int64_t session) {
    const std::scoped_lock lock(places_mutex_);
    const auto found = places_.find(session);
    return found == places_.end() ? std::string{} : found->second;
  }

  std::atomic<int64_t> last_id_{0};  // of statements and logins alike; never used twice
  std::mutex places_mutex_;
  std::map<int64_t, std::string> places_;  // account and host by session, for errors
};

}  // namespace

std::shared_ptr<SnowflakeDriver> bridge_driver() {
  static const auto driver = std::make_shared<BridgeDriver>();
  return driver;
}

}  // namespace snowmelt
