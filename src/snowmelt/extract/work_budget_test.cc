#include "snowmelt/extract/work_budget.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

namespace snowmelt {
namespace {

TEST(WorkBudget, NeverLetsMoreThroughThanItHas) {
  WorkBudget budget(3, 100);
  std::atomic<int> chunks{0}, most_chunks{0};
  std::atomic<int64_t> bytes{0}, most_bytes{0};
  const auto raise = [](auto& most, auto now) {
    for (auto seen = most.load(); now > seen && !most.compare_exchange_weak(seen, now);) {
    }
  };
  std::vector<std::jthread> threads;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 500; ++i) {
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
  EXPECT_GT(most_chunks, 1);
  EXPECT_LE(most_bytes, 100);
}

TEST(WorkBudget, AChunkLargerThanAllPassesAlone) {
  WorkBudget budget(4, 100);
  auto large = budget.acquire(1000, {});
  std::stop_source stop;
  std::jthread later([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    stop.request_stop();
  });
  const auto refused = budget.acquire(1, stop.get_token());  // returns only because it is stopped
  EXPECT_TRUE(stop.stop_requested());
  large = {};
  const auto next = budget.acquire(100, {});
}

}  // namespace
}  // namespace snowmelt
