#include "snowmelt/connections/postgres_open.h"

#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "snowmelt/connections/loopback.h"
#include "snowmelt/connections/postgres_errors.h"
#include "snowmelt/error.h"
#include "snowmelt/log.h"

namespace snowmelt {
namespace {

using Clock = std::chrono::steady_clock;

// libpq 15 does not know sslrootcert=system; this is the same set of authorities on Debian and its relatives.
constexpr const char* kSystemRootCertificates = "/etc/ssl/certs/ca-certificates.crt";

// libpq takes the last of equal keywords, and an URI counts as keywords at the place of `dbname`.
class Keywords {
 public:
  void add(std::string name, std::string value) {
    if (value.empty()) return;
    names_.push_back(std::move(name));
    values_.push_back(std::move(value));
  }
  PGconn* start() const {
    const auto [names, values] = pointers();
    return PQconnectStartParams(names.data(), values.data(), /*expand_dbname=*/1);
  }

 private:
  std::pair<std::vector<const char*>, std::vector<const char*>> pointers() const {
    std::pair<std::vector<const char*>, std::vector<const char*>> out;
    for (const auto& name : names_) out.first.push_back(name.c_str());
    for (const auto& value : values_) out.second.push_back(value.c_str());
    out.first.push_back(nullptr);
    out.second.push_back(nullptr);
    return out;
  }
  std::vector<std::string> names_;
  std::vector<std::string> values_;
};

Keywords keywords_of(const PostgresConfig& config) {
  Keywords words;
  // Defaults of ours stand before the URI, which may say otherwise. A dead link is noticed within a minute.
  words.add("keepalives_idle", "20");
  words.add("keepalives_interval", "10");
  words.add("keepalives_count", "3");
  words.add("tcp_user_timeout", "60000");
  words.add("fallback_application_name", "snowmelt");
  if (std::getenv("PGCONNECT_TIMEOUT") == nullptr) words.add("connect_timeout", std::to_string(config.connect_timeout));
  words.add("service", config.service);
  words.add("dbname", config.uri.reveal());
  words.add("host", config.host);
  words.add("port", config.port);
  words.add("dbname", config.dbname);
  words.add("user", config.user);
  words.add("password", config.password.reveal());
  words.add("sslmode", config.sslmode);
  words.add("sslrootcert", config.sslrootcert);
  words.add("client_encoding", "UTF8");
  return words;
}

using Settings = std::map<std::string, std::string, std::less<>>;

Settings settings_of(PQconninfoOption* options) {
  Settings settings;
  for (auto* option = options; option != nullptr && option->keyword != nullptr; ++option) {
    if (option->val != nullptr && *option->val != '\0') settings[option->keyword] = option->val;
  }
  return settings;
}

std::string setting(const Settings& settings, std::string_view name) {
  const auto found = settings.find(name);
  return found == settings.end() ? std::string() : found->second;
}

std::vector<std::string> split_hosts(const std::string& list) {
  std::vector<std::string> hosts;
  size_t begin = 0;
  while (begin <= list.size()) {
    const size_t comma = std::min(list.find(',', begin), list.size());
    hosts.push_back(list.substr(begin, comma - begin));
    begin = comma + 1;
  }
  return hosts;
}

[[noreturn]] void throw_bad_uri(const std::string& why) {
  throw ConfigurationError("postgres.uri_invalid", "[postgres] uri " + why,
                           {.hint = "write uri as postgresql://user@host:5432/dbname; percent-encode special characters "
                                    "(@ as %40, / as %2F, % as %25), or give the password by itself: [postgres] password"});
}

// A password with a bare @ or / ends too early for libpq: its tail becomes a host, a port or a database, which messages name.
bool splits_a_password(const std::string& uri, const Settings& parsed) {
  if (!uri.starts_with("postgresql://") && !uri.starts_with("postgres://")) return false;
  for (const std::string& host : split_hosts(setting(parsed, "host"))) {
    if (host.find('@', 1) != std::string::npos) return true;
  }
  const size_t slash = uri.find('/', uri.find("://") + 3);
  return slash != std::string::npos && uri.substr(slash, uri.find('?', slash) - slash).find('@') != std::string::npos;
}

// Throws for an URI that libpq cannot read. libpq's own text quotes the URI, password and all: it is not repeated.
Settings settings_of_uri(const PostgresConfig& config) {
  if (config.uri.empty()) return {};
  char* problem = nullptr;
  const PgOptionsHandle options(PQconninfoParse(config.uri.reveal().c_str(), &problem));
  const PgMemoryHandle owned_problem(problem);
  if (!options) throw_bad_uri("is not a connection URI or keyword string that libpq understands");
  Settings parsed = settings_of(options.get());
  if (splits_a_password(config.uri.reveal(), parsed)) throw_bad_uri("has an @ that is not where a host begins");
  return parsed;
}

// What libpq makes of URI, service file, environment and defaults together, without any network: a wrong
// target_session_attrs stops PQconnectStartParams after the settings are complete and before it connects.
Settings effective_settings(Keywords words) {
  words.add("target_session_attrs", "none-this-only-asks-for-the-settings");
  const PgConnectionHandle probe(words.start());
  if (!probe) throw std::bad_alloc();
  const PgOptionsHandle options(PQconninfo(probe.get()));
  return settings_of(options.get());
}

bool leaves_the_machine(const Settings& effective) {
  const std::string hostaddr = setting(effective, "hostaddr");
  const auto hosts = split_hosts(hostaddr.empty() ? setting(effective, "host") : hostaddr);
  return !std::all_of(hosts.begin(), hosts.end(), [](const std::string& host) { return is_local_host(host); });
}

// libpq's default, "prefer", falls back to plain text and checks no name: a password for a remote server deserves more. Whoever
// names an sslmode gets it. (A service file that says "prefer", the default, cannot be told from one that says nothing.)
bool sslmode_is_given(const PostgresConfig& config, const Settings& uri, const Settings& effective) {
  return !config.sslmode.empty() || uri.contains("sslmode") || std::getenv("PGSSLMODE") != nullptr ||
         setting(effective, "sslmode") != "prefer";
}

void apply_tls_rule(const PostgresConfig& config, const Settings& uri, const Settings& effective, Keywords& words) {
  if (!leaves_the_machine(effective) || sslmode_is_given(config, uri, effective)) return;
  words.add("sslmode", "verify-full");
  if (!effective.contains("sslrootcert")) words.add("sslrootcert", kSystemRootCertificates);
}

Clock::time_point deadline_of(const Settings& effective, size_t hosts) {
  const int seconds = std::atoi(setting(effective, "connect_timeout").c_str());
  if (seconds <= 0) return Clock::time_point::max();
  // libpq's timeout is per host, and never below 2 s.
  return Clock::now() + std::chrono::seconds(std::max(seconds, 2)) * hosts;
}

constexpr std::chrono::milliseconds kTick{50};  // how late a stop request is seen

void throw_if_stopped(const std::stop_token& stop) {
  if (stop.stop_requested())
    throw Interrupted("postgres.stopped", "stopped before PostgreSQL had answered the connection", {.nothing_sent = true});
}

// Starting resolves the host's name, and nothing ends that. So it happens on a thread that is left behind after a stop request
// or a deadline. Null when time ran out.
PgConnectionHandle start_aside(Keywords words, const ConnectLimits& limits) {
  struct Start {
    std::mutex mutex;
    std::condition_variable changed;
    bool done = false;
    PgConnectionHandle connection;
  };
  const auto start = std::make_shared<Start>();
  const auto run = [start, words = std::move(words)] {
    PgConnectionHandle connection(words.start());
    const std::lock_guard lock(start->mutex);
    start->connection = std::move(connection);
    start->done = true;
    start->changed.notify_all();
  };
  try {
    std::thread(run).detach();
  } catch (const std::system_error&) {  // no thread: a name that takes its time is waited for
    run();
  }
  std::unique_lock lock(start->mutex);
  while (!start->changed.wait_for(lock, kTick, [&] { return start->done; })) {
    throw_if_stopped(limits.stop);
    if (Clock::now() >= limits.latest) return nullptr;
  }
  if (!start->connection) throw std::bad_alloc();
  return std::move(start->connection);
}

// Polls until connected or failed; false when time ran out. PQconnectdb would do the same, but tells no SQLSTATE:
// PQERRORS_VERBOSE, which puts it into the message, can be set only on a connection that has been started.
bool poll_until_connected(PGconn* connection, const ConnectLimits& limits) {
  PQsetErrorVerbosity(connection, PQERRORS_VERBOSE);
  PostgresPollingStatusType status = PGRES_POLLING_WRITING;
  while (status != PGRES_POLLING_OK && status != PGRES_POLLING_FAILED) {
    throw_if_stopped(limits.stop);
    const auto left = limits.latest - Clock::now();
    if (left <= Clock::duration::zero()) return false;
    pollfd descriptor{PQsocket(connection), static_cast<short>(status == PGRES_POLLING_READING ? POLLIN : POLLOUT), 0};
    const auto wait = std::chrono::ceil<std::chrono::milliseconds>(std::min<Clock::duration>(left, kTick));
    const int ready = ::poll(&descriptor, 1, static_cast<int>(wait.count()));
    if (ready < 0 && errno != EINTR) return false;
    if (ready > 0) status = PQconnectPoll(connection);
  }
  return true;
}

// "FATAL:  28P01: password authentication failed for user "ana"\nLOCATION:  …" in its parts. The severity word is
// localized, the code is not: five characters of [0-9A-Z] before a colon.
PostgresFailure parse_login_failure(std::string text) {
  PostgresFailure failure;
  const auto location = text.find("\nLOCATION:");
  if (location != std::string::npos) text.erase(location);
  const auto is_code = [&](size_t at) {
    return at + 5 < text.size() && text[at + 5] == ':' && std::all_of(text.begin() + at, text.begin() + at + 5, [](char c) {
             return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z');
           });
  };
  for (size_t at = text.find(":  "); at != std::string::npos; at = text.find(":  ", at + 1)) {
    if (!is_code(at + 3)) continue;
    failure.sqlstate = text.substr(at + 3, 5);
    failure.severity = "FATAL";
    text.erase(0, at + 10);
    break;
  }
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  failure.message = std::move(text);
  return failure;
}

std::string place_of(const Settings& effective) {
  const std::string host = setting(effective, "host");
  const std::string shown = host.empty() ? setting(effective, "hostaddr") : host;
  return "PostgreSQL at " + (shown.empty() ? std::string("the local socket") : shown) + " port " + setting(effective, "port") +
         ", database " + setting(effective, "dbname");
}

constexpr const char* kTlsHint =
    "a remote server is checked like a website unless you say otherwise: set [postgres] sslrootcert to the authority that signed "
    "the "
    "server's certificate, or choose another sslmode (verify-ca, require, disable)";

[[noreturn]] void throw_login_failure(PGconn* connection, const Settings& effective, bool timed_out) {
  if (timed_out) {
    throw ConnectionError("postgres.not_reached", "no answer within connect_timeout",
                          {.where = place_of(effective),
                           .hint = "check [postgres] host and port, or raise connect_timeout",
                           .connection_lost = true,
                           .nothing_sent = true});
  }
  PostgresFailure failure = parse_login_failure(PQerrorMessage(connection));
  const bool password_missing = failure.sqlstate.empty() && PQconnectionNeedsPassword(connection) != 0;
  if (password_missing) failure.sqlstate = "28P01";
  failure.context = place_of(effective);
  if (!failure.sqlstate.empty()) throw_postgres_failure(failure);

  // No code: the server was not reached, or TLS failed before it could say anything.
  const bool tls = failure.message.find("SSL") != std::string::npos || failure.message.find("certificate") != std::string::npos;
  throw ConnectionError(tls ? "postgres.tls" : "postgres.not_reached", failure.message,
                        {.where = failure.context,
                         .hint = tls ? kTlsHint : "is PostgreSQL running there? check [postgres] host and port, or uri",
                         .connection_lost = true,
                         .nothing_sent = true});
}

// "WARNING:  01000: database "d" has a collation version mismatch\nDETAIL: …".
void log_login_notice(void*, const char* words) noexcept try {
  std::string text = words;
  std::replace(text.begin(), text.end(), '\n', ' ');
  log(text.starts_with("WARNING") ? LogLevel::warning : LogLevel::debug, "PostgreSQL says at the login: {}", text);
} catch (...) {  // libpq is C
}

void require_utf8(PGconn* connection, const Settings& effective) {
  const char* encoding = PQparameterStatus(connection, "server_encoding");
  if (encoding != nullptr && std::strcmp(encoding, "UTF8") == 0) return;
  throw ConfigurationError(
      "postgres.encoding",
      std::string("the database is encoded in ") + (encoding == nullptr ? "?" : encoding) + ", which cannot keep every text",
      {.where = place_of(effective), .hint = "create the database with encoding UTF8"});
}

}  // namespace

bool is_local_host(std::string_view host) {
  return host.empty() || host.front() == '/' || host.front() == '@' || is_loopback(host);
}

PgConnectionHandle connect_postgres(const PostgresConfig& config, const ConnectLimits& given) {
  Keywords words = keywords_of(config);
  const Settings uri = settings_of_uri(config);
  const Settings effective = effective_settings(words);
  apply_tls_rule(config, uri, effective, words);

  const size_t hosts = split_hosts(setting(effective, "host")).size();
  const ConnectLimits limits{.latest = std::min(deadline_of(effective, hosts), given.latest), .stop = given.stop};
  throw_if_stopped(limits.stop);
  PgConnectionHandle connection = start_aside(std::move(words), limits);
  if (!connection) throw_login_failure(nullptr, effective, /*timed_out=*/true);
  // libpq itself prints what the server says during the login; afterwards the connection has a receiver of its own.
  PQsetNoticeProcessor(connection.get(), log_login_notice, nullptr);
  const bool failed_at_once = PQstatus(connection.get()) == CONNECTION_BAD;
  const bool finished = failed_at_once || poll_until_connected(connection.get(), limits);
  if (!finished || PQstatus(connection.get()) != CONNECTION_OK) throw_login_failure(connection.get(), effective, !finished);

  PQsetErrorVerbosity(connection.get(), PQERRORS_DEFAULT);
  require_utf8(connection.get(), effective);
  return connection;
}

}  // namespace snowmelt
