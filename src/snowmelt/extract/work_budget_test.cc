#include "snowmelt/extract/work_budget.h"

#include <gtest/gtest.h>

#include <atomic>
#include <stdexcept>
#include <thread>
#include <vector>

namespace snowmelt {
namespace {

TEST(WorkBudget, NeverLetsMoreThroughThanItHas) {
  WorkBudget budget(3, 100, 3);
  std::atomic<int> chunks{0}, most_chunks{0};
  std::atomic<int64_t> bytes{0}, most_bytes{0};
  const auto raise = [](auto& most, auto now) {
    for (auto seen = most.load(); now > seen && !most.compare_exchange_weak(seen, now);) {
    }
  };
  std::vector<std::jthread> threads;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 100; ++i) {
        const int64_t size = 10 + (t * 7 + i) % 60;
        const auto lease = budget.acquire(size, {});
        raise(most_chunks, ++chunks);
        raise(most_bytes, bytes += size);
        std::this_thread::yield();
        bytes -= size;
        --chunks;
      }
    });
  }
  threads.clear();
  EXPECT_LE(most_chunks, 3);
  EXPECT_LE(most_bytes, 100);
  const auto first = budget.acquire(10, {}), second = budget.acquire(10, {}), third = budget.acquire(10, {});  // all at once
}

TEST(WorkBudget, AChunkLargerThanAllPassesAlone) {
  WorkBudget budget(4, 100, 4);
  auto large = budget.acquire(1000, {});
  std::stop_source stop;
  stop.request_stop();
  const auto refused = budget.acquire(1, stop.get_token());  // returns only because it is stopped
  large = {};
  const auto next = budget.acquire(100, {});  // would wait for ever beside that 1
}

TEST(WorkBudget, AStopRequestWakesThoseThatWait) {
  WorkBudget budget(1, 100, 1);
  const auto lease = budget.acquire(1, {});
  const auto turn = budget.take_turn({});
  std::stop_source stop;
  std::jthread other([&] { const auto none = budget.acquire(1, stop.get_token()); });
  std::jthread third([&] { EXPECT_EQ(budget.take_turn(stop.get_token()), nullptr); });
  stop.request_stop();
}

TEST(WorkBudget, ALeaseGrowsWithWhatAChunkTurnsOutToBe) {
  WorkBudget budget(4, 100, 4);
  std::stop_source stopped;  // who does not fit is told at once
  stopped.request_stop();
  auto first = budget.acquire(10, {});
  first.raise_to(95);
  first.raise_to(20);
  auto other = budget.acquire(10, stopped.get_token());
  EXPECT_FALSE(other) << "never less than it was";
  other.raise_to(1'000);  // an empty one holds nothing
  other = budget.acquire(5, stopped.get_token());
  EXPECT_TRUE(other);
  first = {};
  EXPECT_TRUE(budget.acquire(95, stopped.get_token())) << "what was raised is given back whole";
}

TEST(WorkBudget, AHandWorksOnItsOwnThreadAndPassesErrorsOn) {
  WorkBudget budget(1, 100, 1);
  const auto turn = budget.take_turn({});
  std::thread::id first, second;
  turn->run([&] { first = std::this_thread::get_id(); });
  EXPECT_THROW(turn->run([] { throw std::runtime_error("no"); }), std::runtime_error);
  turn->run([&] { second = std::this_thread::get_id(); });
  EXPECT_EQ(first, second);
  EXPECT_NE(first, std::this_thread::get_id());
}

TEST(WorkBudget, TurnsAreFewerThanChunks) {
  WorkBudget budget(4, 100, 2);
  std::atomic<int> turns{0}, most_turns{0};
  const auto raise = [](std::atomic<int>& most, int now) {
    for (int seen = most.load(); now > seen && !most.compare_exchange_weak(seen, now);) {
    }
  };
  std::vector<std::jthread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 50; ++i) {
        const auto lease = budget.acquire(10, {});
        const auto turn = budget.take_turn({});
        raise(most_turns, ++turns);
        std::this_thread::yield();
        --turns;
      }
    });
  }
  threads.clear();
  EXPECT_LE(most_turns, 2);
  std::vector<WorkBudget::Lease> all;
  for (int i = 0; i < 4; ++i) all.push_back(budget.acquire(10, {}));
  const auto first = budget.take_turn({}), second = budget.take_turn({});
  std::stop_source stop;
  stop.request_stop();
  EXPECT_EQ(budget.take_turn(stop.get_token()), nullptr);
}

}  // namespace
}  // namespace snowmelt
