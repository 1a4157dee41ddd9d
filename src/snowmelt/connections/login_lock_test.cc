#include "snowmelt/connections/login_lock.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "snowmelt/error.h"
#include "snowmelt/log.h"
#include "snowmelt/test_events.h"

namespace snowmelt {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

class LoginLockTest : public ::testing::Test {
 protected:
  LoginLockTest() : directory_(fs::temp_directory_path() / ("snowmelt-login-lock-" + std::to_string(::getpid()))) {
    fs::create_directories(directory_);
    ::chmod(directory_.c_str(), 0700);
    set_log_sink([this](LogLevel level, std::string_view) { warnings_ += level == LogLevel::warning; });
    config_.host = "acct.snowflakecomputing.com";
    config_.user = "ana";
    config_.authenticator = "externalbrowser";
  }
  ~LoginLockTest() override {
    set_log_sink({});
    fs::remove_all(directory_);
  }

  fs::path directory_;
  SnowflakeConfig config_;
  std::atomic<int> warnings_ = 0;
};

TEST_F(LoginLockTest, TheSecondWaitsForTheFirstAndSaysSoOnce) {
  std::optional<LoginLock> first(std::in_place, config_, directory_, std::stop_token{});
  ASSERT_TRUE(first->held());
  std::atomic<bool> second_in = false;
  std::jthread second([&] {
    const LoginLock lock(config_, directory_, {});
    second_in = lock.held();
  });
  EXPECT_TRUE(eventually([&] { return warnings_ > 0; }));
  std::this_thread::sleep_for(250ms);  // for it to look again; where it has not, once is said all the same
  EXPECT_FALSE(second_in);
  first.reset();
  second.join();
  EXPECT_TRUE(second_in);
  EXPECT_EQ(warnings_, 1);
}

TEST_F(LoginLockTest, OthersAreNotInTheWay) {
  const LoginLock ana(config_, directory_, {});
  SnowflakeConfig other = config_;
  other.user = "bob";
  EXPECT_TRUE(LoginLock(other, directory_, {}).held());
  other = config_;
  other.authenticator = "username_password_mfa";
  EXPECT_TRUE(LoginLock(other, directory_, {}).held());
  EXPECT_EQ(warnings_, 0);
}

TEST_F(LoginLockTest, StoppingEndsTheWait) {
  const LoginLock first(config_, directory_, {});
  std::stop_source stop;
  std::jthread stopper([&] {
    EXPECT_TRUE(eventually([&] { return warnings_ > 0; }));
    stop.request_stop();
  });
  EXPECT_THROW(LoginLock(config_, directory_, stop.get_token()), Interrupted);
}

TEST_F(LoginLockTest, ADeadProcessHoldsNothing) {
  int ready[2];
  ASSERT_EQ(::pipe(ready), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    const LoginLock lock(config_, directory_, {});
    const char byte = lock.held() ? 'y' : 'n';
    if (::write(ready[1], &byte, 1) == 1) ::pause();
    ::_exit(1);
  }
  char held = 0;
  ASSERT_EQ(::read(ready[0], &held, 1), 1);
  EXPECT_EQ(held, 'y');
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  EXPECT_TRUE(LoginLock(config_, directory_, {}).held());
  ::close(ready[0]);
  ::close(ready[1]);
}

TEST_F(LoginLockTest, NoCacheNoLock) {
  EXPECT_FALSE(LoginLock(config_, "", {}).held());
  EXPECT_FALSE(LoginLock(config_, directory_ / "missing", {}).held());
  ::chmod(directory_.c_str(), 0755);
  EXPECT_FALSE(LoginLock(config_, directory_, {}).held());
}

TEST_F(LoginLockTest, OnlyLoginsThatLeaveAToken) {
  EXPECT_TRUE(shares_login(config_));
  config_.client_store_temporary_credential = false;
  EXPECT_FALSE(shares_login(config_));
  config_.client_store_temporary_credential = true;
  config_.authenticator = "snowflake_jwt";
  EXPECT_FALSE(shares_login(config_));
}

}  // namespace
}  // namespace snowmelt
