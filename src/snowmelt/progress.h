// Counters that workers raise and a display reads; relaxed atomics, so that counting costs nothing.
#pragma once

#include <atomic>
#include <cstdint>

namespace snowmelt {

// Values that a policy of [[table]] changed.
struct PolicyCounts {
  std::atomic<int64_t> on_nul{0};
  std::atomic<int64_t> on_out_of_range{0};
  std::atomic<int64_t> on_subsecond{0};
};

struct TableProgress {
  std::atomic<int64_t> rows_total{-1};     // -1 until the server has answered
  std::atomic<int64_t> rows_exported{0};   // encoded into Parquet row groups
  std::atomic<int64_t> bytes_exported{0};  // encoded Parquet bytes
  std::atomic<int64_t> rows_loaded{0};     // encoded for COPY
  std::atomic<int64_t> bytes_loaded{0};    // COPY bytes sent
  PolicyCounts policies;
};

}  // namespace snowmelt
