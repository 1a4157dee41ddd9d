// The lifecycle with a database that does not exist: what is opened, pinged and disposed of is counted.
#include "snowmelt/connections/base_connection.h"

#include <gtest/gtest.h>
#include <sys/types.h>
#include <unistd.h>

#include <functional>
#include <latch>
#include <mutex>
#include <set>
#include <thread>

#include "snowmelt/error.h"
#include "snowmelt/test_events.h"

namespace snowmelt {
namespace {

using namespace std::chrono_literals;

class FakeConnection : public Connection {
 public:
  std::unique_ptr<Cursor> cursor() override { return nullptr; }
  bool is_open() const override { return open; }
  std::atomic<bool> open{true};
};

class FakeManager : public BaseConnectionManager {
 public:
  ~FakeManager() override { close(); }

  std::atomic<int> opens{0}, pings{0}, disposals{0};
  std::atomic<bool> answers{true}, network{true}, refuses_login{false}, has_work{false};
  std::function<void()> during_open;

 protected:
  std::shared_ptr<Connection> open() override {
    ++opens;
    if (during_open) during_open();
    if (refuses_login) throw AuthenticationError("snowflake.login_refused", "wrong password", {.vendor_code = 390100});
    return std::make_shared<FakeConnection>();
  }
  bool ping(Connection&) override {
    ++pings;
    if (!network) throw ConnectionError("snowflake.unreachable", "no route");
    return answers;
  }
  void dispose(Connection&) noexcept override { ++disposals; }
  void before_reconnect(Connection&) override {
    if (has_work) throw ConnectionError("postgres.work_lost", "the work is gone", {.connection_lost = true});
  }
};

TEST(BaseConnection, OpensLazilyAndReuses) {
  FakeManager manager;
  EXPECT_EQ(manager.opens, 0);
  const auto first = manager.get_connection();
  EXPECT_EQ(manager.get_connection(), first);
  EXPECT_EQ(manager.connections_opened(), 1);
  EXPECT_EQ(manager.pings, 0);
}

TEST(BaseConnection, IsAliveBeforeTheFirstConnectionOpensNothing) {
  FakeManager manager;
  EXPECT_FALSE(manager.is_alive());
  EXPECT_EQ(manager.opens, 0);
  manager.get_connection();
  EXPECT_TRUE(manager.is_alive());
  EXPECT_EQ(manager.pings, 1);
}

TEST(BaseConnection, PingsOnlyAfterIdleness) {
  FakeManager manager;
  manager.set_idle_before_ping(1h);
  const auto first = manager.get_connection();
  manager.get_connection();
  EXPECT_EQ(manager.pings, 0);
  manager.set_idle_before_ping(0ms);
  EXPECT_EQ(manager.get_connection(), first);
  EXPECT_EQ(manager.pings, 1);
  manager.set_idle_before_ping(1h);
  manager.get_connection();
  EXPECT_EQ(manager.pings, 1);
}

TEST(BaseConnection, ReconnectsWhenLost) {
  FakeManager manager;
  const auto first = manager.get_connection();
  static_cast<FakeConnection&>(*first).open = false;
  EXPECT_FALSE(manager.is_alive());
  EXPECT_NE(manager.get_connection(), first);
  EXPECT_EQ(manager.connections_opened(), 2);
  EXPECT_EQ(manager.disposals, 1);
}

TEST(BaseConnection, ReconnectsWhenThePingFails) {
  FakeManager manager;
  manager.set_idle_before_ping(0ms);
  const auto first = manager.get_connection();
  manager.answers = false;
  EXPECT_NE(manager.get_connection(), first);
  EXPECT_EQ(manager.disposals, 1);
}

// A dead answer of is_alive() is not forgotten because the connection was used a moment ago.
TEST(BaseConnection, WhatIsAliveFoundDeadIsPingedAgain) {
  FakeManager manager;
  const auto first = manager.get_connection();
  manager.answers = false;
  EXPECT_FALSE(manager.is_alive());
  EXPECT_NE(manager.get_connection(), first);
}

TEST(BaseConnection, AnUnreachableNetworkDoesNotCostTheLogin) {
  FakeManager manager;
  manager.set_idle_before_ping(0ms);
  const auto first = manager.get_connection();
  manager.network = false;
  EXPECT_THROW(manager.get_connection(), ConnectionError);
  EXPECT_FALSE(manager.is_alive());
  manager.network = true;
  EXPECT_EQ(manager.get_connection(), first);
  EXPECT_EQ(manager.connections_opened(), 1);
}

TEST(BaseConnection, LostWorkRefusesReconnecting) {
  FakeManager manager;
  const auto first = manager.get_connection();
  static_cast<FakeConnection&>(*first).open = false;
  manager.has_work = true;
  EXPECT_THROW(manager.get_connection(), ConnectionError);
  EXPECT_THROW(manager.get_connection(), ConnectionError);
  EXPECT_EQ(manager.disposals, 0);
  manager.has_work = false;
  EXPECT_NE(manager.get_connection(), first);
}

TEST(BaseConnection, ClosedIsAUsageError) {
  FakeManager manager;
  manager.get_connection();
  manager.close();
  manager.close();
  EXPECT_EQ(manager.disposals, 1);
  EXPECT_FALSE(manager.is_alive());
  EXPECT_THROW(manager.get_connection(), UsageError);
  EXPECT_EQ(manager.opens, 1);
}

TEST(BaseConnection, SixtyFourThreadsOpenOnce) {
  FakeManager manager;
  std::latch started(64);
  manager.during_open = [&] { started.wait(); };
  std::vector<std::shared_ptr<Connection>> got(64);
  {
    std::vector<std::jthread> threads;
    for (auto& slot : got) {
      threads.emplace_back([&] {
        started.count_down();
        slot = manager.get_connection();
      });
    }
  }
  EXPECT_EQ(std::set(got.begin(), got.end()).size(), 1);
  EXPECT_EQ(manager.connections_opened(), 1);
}

TEST(BaseConnection, ThreadsThatWaitedForARefusedLoginDoNotRepeatIt) {
  FakeManager manager;
  manager.refuses_login = true;
  std::atomic<int> refused{0};
  std::mutex mutex;
  std::vector<pid_t> waiting;
  manager.during_open = [&] {
    EXPECT_TRUE(eventually([&] {
      const std::lock_guard lock(mutex);
      return waiting.size() == 16 && all_asleep(waiting, ::gettid());
    }));
  };
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 16; ++i) {
      threads.emplace_back([&] {
        {
          const std::lock_guard lock(mutex);
          waiting.push_back(::gettid());
        }
        try {
          manager.get_connection();
        } catch (AuthenticationError& error) {
          error.add_where("a place of this thread's own");
          refused += error.vendor_code() == 390100;
        }
      });
    }
  }
  EXPECT_EQ(refused, 16);
  EXPECT_EQ(manager.opens, 1);
  EXPECT_EQ(manager.connections_opened(), 0);
  manager.during_open = {};
  manager.refuses_login = false;
  EXPECT_NE(manager.get_connection(), nullptr);  // a later call may try again
}

TEST(BaseConnection, CloseDuringOpeningDisposesOfTheLateConnection) {
  FakeManager manager;
  std::latch closed(1);
  manager.during_open = [&] { closed.wait(); };
  std::atomic<bool> refused{false};
  std::jthread opener([&] {
    try {
      manager.get_connection();
    } catch (const UsageError&) {
      refused = true;
    }
  });
  while (manager.opens == 0) std::this_thread::yield();
  EXPECT_FALSE(manager.is_alive());
  manager.close();
  closed.count_down();  // neither has waited for the login
  opener.join();
  EXPECT_TRUE(refused);
  EXPECT_EQ(manager.disposals, 1);
}

// Issue 6: many calls by many threads while connections die under them.
TEST(BaseConnection, ManyThreadsAndManyLosses) {
  FakeManager manager;
  manager.set_idle_before_ping(0ms);
  constexpr int kThreads = 16, kCalls = 300, kLosses = 50;
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < kThreads; ++i) {
      threads.emplace_back([&] {
        for (int call = 0; call < kCalls; ++call) EXPECT_NE(manager.get_connection(), nullptr);
      });
    }
    for (int loss = 0; loss < kLosses; ++loss) {
      static_cast<FakeConnection&>(*manager.get_connection()).open = false;
    }
  }
  EXPECT_LE(manager.connections_opened(), kLosses + 1);
  manager.close();
  EXPECT_EQ(manager.disposals, manager.connections_opened());
}

}  // namespace
}  // namespace snowmelt
