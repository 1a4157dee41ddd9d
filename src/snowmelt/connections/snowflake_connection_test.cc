// The Snowflake manager with a driver that only counts, and the small parts of the real one.
#include "snowmelt/connections/snowflake_connection.h"
#include "snowmelt/connections/person.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <functional>
#include <latch>
#include <mutex>
#include <random>
#include <thread>

#include "snowmelt/connections/bridge_library.h"
#include "snowmelt/connections/snowflake_auth.h"
#include "snowmelt/error.h"

namespace snowmelt {
namespace {

class FakeDriver : public SnowflakeDriver {
 public:
  Session open(const SnowflakeConfig&, const LoginOptions& options) override {
    asked = options.ask_person;
    if (during_open) during_open();
    Session session;
    session.handle = ++opens;
    session.login_kind = opens == 1 ? "externalbrowser" : "id_token";
    return session;
  }
  StatementResult execute(int64_t, const Statement& statement) override {
    if (lose_next.exchange(false)) throw ConnectionError("snowflake.connection_lost", "gone", {.connection_lost = true});
    const std::scoped_lock lock(mutex);
    last_parameters = statement.parameters;
    return answer;
  }
  StatementResult result(int64_t, const std::string&, std::stop_token) override { return answer; }
  void ping(int64_t, std::stop_token) override {
    ++pings;
    if (expire_next.exchange(false)) throw ConnectionError("snowflake.connection_lost", "expired", {.connection_lost = true});
  }
  void close(int64_t) noexcept override { ++closes; }

  std::atomic<int> opens{0}, pings{0}, closes{0};
  std::atomic<bool> lose_next{false}, expire_next{false};
  std::atomic<bool> asked{false};
  std::function<void()> during_open;
  StatementResult answer;
  std::mutex mutex;
  std::vector<Value> last_parameters;
};

SnowflakeConfig config() {
  SnowflakeConfig config;
  config.account = "acct";
  config.user = "ana";
  config.password = Secret("secret");
  return config;
}

StatementResult two_rows() {
  StatementResult result;
  result.query_id = "q1";
  result.total = 2;
  result.arrow = false;
  result.row_type = {{.name = "A", .type = "fixed", .precision = 38, .scale = 0, .length = {}, .byte_length = {}}};
  result.rows = {{"1"}, {std::nullopt}};
  return result;
}

TEST(SnowflakeConnection, OneLoginForManyThreadsAndItsKinds) {
  const auto driver = std::make_shared<FakeDriver>();
  SnowflakeConnectionManager manager(config(), driver);
  std::latch started(64);
  driver->during_open = [&] { started.wait(); };
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 64; ++i) {
      threads.emplace_back([&] {
        started.count_down();
        manager.get_connection();
      });
    }
  }
  EXPECT_EQ(driver->opens, 1);
  driver->lose_next = true;
  EXPECT_THROW(manager.get_snowflake_connection()->execute({}), ConnectionError);
  manager.get_connection();
  EXPECT_EQ(manager.logins(), 2);
  EXPECT_EQ(manager.logins_by_kind(), (std::map<std::string, int64_t>{{"externalbrowser", 1}, {"id_token", 1}}));
}

TEST(SnowflakeConnection, TenThousandCallsAHundredLossesOneInteractiveLogin) {
  const auto driver = std::make_shared<FakeDriver>();
  SnowflakeConnectionManager manager(config(), driver);
  manager.set_idle_before_ping(std::chrono::milliseconds(0));
  constexpr int kThreads = 64, kCalls = 157, kEach = 50;
  std::atomic<int> working{kThreads};
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < kThreads; ++i) {
      threads.emplace_back([&] {
        for (int call = 0; call < kCalls; ++call) {
          try {
            EXPECT_NE(manager.get_snowflake_connection(), nullptr);
            if (call % 16 == 0)
              manager.get_snowflake_connection()->execute({.sql = "select 1", .parameters = {}, .query_tag = {}, .stop = {}});
          } catch (const Error& error) {  // of the statement that meets the loss, and of those on a session just given up
            EXPECT_TRUE(error.connection_lost()) << error.what();
          }
        }
        --working;
      });
    }
    for (int loss = 0; loss < kEach; ++loss) {
      for (std::atomic<bool>* next : {&driver->expire_next, &driver->lose_next}) {
        *next = true;
        while (*next && working > 0) std::this_thread::yield();
      }
    }
  }
  EXPECT_EQ(manager.logins_by_kind().at("externalbrowser"), 1);
  EXPECT_LE(manager.logins(), 2 * kEach + 1);
  manager.close();
  EXPECT_EQ(driver->opens, driver->closes);
}

TEST(SnowflakeConnection, WhoMayBeAskedToLogIn) {
  using AskPerson = SnowflakeConnectionManager::AskPerson;
  ::unsetenv("DISPLAY");
  ::unsetenv("WAYLAND_DISPLAY");
  ::setenv("BROWSER", "a-browser", 1);
  const bool terminal = missing_of_a_person(LoginTime::later).empty();
  for (const auto& [who, first, later] :
       {std::tuple{AskPerson::if_present, true, terminal}, std::tuple{AskPerson::always, true, true},
        std::tuple{AskPerson::never, false, false}}) {
    const auto driver = std::make_shared<FakeDriver>();
    SnowflakeConnectionManager manager(config(), driver);
    manager.set_ask_person(who);
    manager.get_connection();
    EXPECT_EQ(driver->asked, first);
    driver->lose_next = true;
    EXPECT_THROW(manager.get_snowflake_connection()->execute({.sql = "x", .parameters = {}, .query_tag = {}, .stop = {}}),
                 ConnectionError);
    manager.get_connection();
    EXPECT_EQ(driver->asked, later);
  }
}

TEST(SnowflakeConnection, NobodyIsHereWithoutAnySignOfAPerson) {
  for (const char* name : {"DISPLAY", "WAYLAND_DISPLAY", "BROWSER", "JPY_PARENT_PID", "JPY_SESSION_NAME"}) ::unsetenv(name);
  if (missing_of_a_person(LoginTime::later).empty()) return;  // run by hand, at a terminal
  EXPECT_NE(missing_of_a_person(LoginTime::first).find("no DISPLAY or WAYLAND_DISPLAY, no BROWSER"), std::string::npos);
  for (const char* name : {"DISPLAY", "WAYLAND_DISPLAY", "BROWSER", "JPY_PARENT_PID", "JPY_SESSION_NAME"}) {
    ::setenv(name, "1", 1);
    EXPECT_EQ(missing_of_a_person(LoginTime::first), "") << name;
    EXPECT_EQ(missing_of_a_person(LoginTime::later), "no terminal");
    ::unsetenv(name);
  }
}

TEST(SnowflakeConnection, EverySessionIsClosedOnce) {
  const auto driver = std::make_shared<FakeDriver>();
  {
    SnowflakeConnectionManager manager(config(), driver);
    const auto kept = manager.get_snowflake_connection();
    driver->lose_next = true;
    EXPECT_THROW(kept->execute({}), ConnectionError);
    EXPECT_FALSE(kept->is_open());
    manager.get_connection();
    EXPECT_EQ(driver->closes, 1);
    EXPECT_THROW(kept->cursor(), ConnectionError);
    manager.close();
  }
  EXPECT_EQ(driver->closes, 2);
}

TEST(SnowflakeConnection, CursorReadsTheRowsOfAJsonResult) {
  const auto driver = std::make_shared<FakeDriver>();
  driver->answer = two_rows();
  SnowflakeConnectionManager manager(config(), driver);
  const auto cursor = manager.get_connection()->cursor();
  EXPECT_EQ(cursor->rowcount(), -1);
  EXPECT_THROW(cursor->fetchone(), UsageError);
  cursor->execute("select a from t where b = ?", {"x"});
  EXPECT_EQ(driver->last_parameters, std::vector<Value>{"x"});
  EXPECT_EQ(cursor->rowcount(), 2);
  EXPECT_EQ(cursor->description().at(0).name, "A");
  EXPECT_EQ(cursor->result()->query_id, "q1");
  EXPECT_EQ(cursor->fetchmany(1), std::vector<Row>{{"1"}});
  EXPECT_EQ(cursor->fetchall(), std::vector<Row>{{std::nullopt}});
  EXPECT_EQ(cursor->fetchone(), std::nullopt);
  cursor->close();
  EXPECT_THROW(cursor->fetchone(), UsageError);
}

TEST(SnowflakeConnection, RowcountOfAChangeIsTheRowsChanged) {
  const auto driver = std::make_shared<FakeDriver>();
  driver->answer = two_rows();
  driver->answer.statement_type_id = 0x3400;  // MERGE: rows inserted, rows updated
  driver->answer.rows = {{"3", "4"}};
  SnowflakeConnectionManager manager(config(), driver);
  const auto cursor = manager.get_connection()->cursor();
  cursor->execute("merge into t …");
  EXPECT_EQ(cursor->rowcount(), 7);
}

TEST(SnowflakeConnection, ArrowRowsComeFromTheManagersReader) {
  class OneRow : public RowSource {
   public:
    std::optional<Row> next() override { return std::exchange(row_, std::nullopt); }

   private:
    std::optional<Row> row_ = Row{"from arrow"};
  };
  const auto driver = std::make_shared<FakeDriver>();
  driver->answer.total = 1;
  SnowflakeConnectionManager without(config(), driver);
  auto cursor = without.get_connection()->cursor();
  cursor->execute("select 1");
  EXPECT_THROW(cursor->fetchone(), BugError);
  SnowflakeConnectionManager manager(config(), driver);
  manager.set_row_reader([](const auto&, const StatementResult&, const std::stop_token&) { return std::make_unique<OneRow>(); });
  cursor = manager.get_connection()->cursor();
  cursor->execute("select 1");
  EXPECT_EQ(cursor->fetchall(), std::vector<Row>{{"from arrow"}});
}

TEST(SnowflakeConnection, RequiredKeysAreCheckedBeforeAnyLogin) {
  struct Case {
    const char* authenticator;
    const char* missing;  // in the message
  };
  for (const Case& c :
       {Case{"snowflake", "password"}, Case{"SNOWFLAKE_JWT", "private_key_file"}, Case{"oauth", "token or token_file_path"},
        Case{"https://x.okta.com", "password"}, Case{"programmatic_access_token", "token"},
        Case{"username_password_mfa", "password"}, Case{"oauth_client_credentials", "oauth_client_id"},
        Case{"workload_identity", "workload_identity_provider"}, Case{"extenalbrowser", "extenalbrowser"}}) {
    const auto driver = std::make_shared<FakeDriver>();
    SnowflakeConfig incomplete = config();
    incomplete.password = {};
    incomplete.authenticator = c.authenticator;
    SnowflakeConnectionManager manager(incomplete, driver);
    try {
      manager.get_connection();
      ADD_FAILURE() << c.authenticator;
    } catch (const ConfigurationError& error) {
      EXPECT_NE(error.message().find(c.missing), std::string::npos) << error.what();
    }
    EXPECT_EQ(driver->opens, 0);
  }
  SnowflakeConfig browser = config();
  browser.authenticator = "ExternalBrowser";
  EXPECT_TRUE(check_auth(browser).needs_browser);
}

TEST(SnowflakeConnection, KeysThatBelongTogether) {
  const auto refusal = [](const SnowflakeConfig& config) {
    try {
      check_auth(config);
    } catch (const ConfigurationError& error) {
      return std::string(error.what());
    }
    return std::string("accepted");
  };
  SnowflakeConfig code = config();
  code.authenticator = "oauth_authorization_code";
  EXPECT_EQ(refusal(code), "accepted") << "Snowflake's own client";
  code.oauth_client_id = "id";
  EXPECT_NE(refusal(code).find("needs oauth_client_secret"), std::string::npos);
  code.oauth_client_id = {};
  code.oauth_token_request_url = "https://idp.example.com/token";
  EXPECT_NE(refusal(code).find("needs oauth_client_id"), std::string::npos);

  SnowflakeConfig credentials = config();
  credentials.authenticator = "oauth_client_credentials";
  credentials.oauth_client_id = "id";
  credentials.oauth_client_secret = Secret("s3cret");
  EXPECT_NE(refusal(credentials).find("needs oauth_token_request_url"), std::string::npos);
  EXPECT_EQ(refusal(credentials).find("s3cret"), std::string::npos);
  credentials.oauth_token_request_url = "https://idp.example.com/token";
  EXPECT_EQ(refusal(credentials), "accepted");

  SnowflakeConfig workload = config();
  workload.authenticator = "workload_identity";
  workload.workload_identity_provider = "Azur";
  EXPECT_NE(refusal(workload).find("AWS, AZURE, GCP, OIDC"), std::string::npos);
  workload.workload_identity_provider = "oidc";
  EXPECT_NE(refusal(workload).find("needs token or token_file_path"), std::string::npos);
  workload.token = Secret("t");
  EXPECT_EQ(refusal(workload), "accepted");
}

TEST(SnowflakeConnection, Base64OfEveryLength) {
  EXPECT_EQ(decode_base64(""), "");
  EXPECT_EQ(decode_base64("TQ=="), "M");
  EXPECT_EQ(decode_base64("TWE="), "Ma");
  EXPECT_EQ(decode_base64("TWFu"), "Man");
  EXPECT_EQ(decode_base64("+/+/TQ=="), "\xfb\xff\xbfM");
  for (const char* bad : {"TWF", "TW=u", "TW\nu", "====", "TWF*", "T==="})
    EXPECT_THROW(decode_base64(bad), VerificationError) << bad;
}

TEST(SnowflakeConnection, AMissingBridgeNamesTheVariable) {
  ::setenv("SNOWMELT_BRIDGE_LIBRARY", "/nonexistent/bridge.so", 1);
  SnowflakeConnectionManager manager(config());
  try {
    manager.get_connection();
    ADD_FAILURE();
  } catch (const ConfigurationError& error) {
    EXPECT_EQ(error.code(), "snowflake.bridge_missing");
    EXPECT_NE(error.hint().find("SNOWMELT_BRIDGE_LIBRARY"), std::string::npos);
  }
  ::unsetenv("SNOWMELT_BRIDGE_LIBRARY");
}

}  // namespace
}  // namespace snowmelt
