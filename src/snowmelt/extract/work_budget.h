// How much the extractions of one run do at once: chunks in hand, and the bytes those may take. Several tables share one.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <stop_token>

namespace snowmelt {

class WorkBudget {
 public:
  // At most `chunks` chunks, and `bytes` of memory for them; a chunk larger than all of that is let through alone.
  WorkBudget(int chunks, int64_t bytes) : chunks_(chunks), bytes_(bytes) {}

  // Given back by its destructor.
  class Lease {
   public:
    Lease() = default;
    Lease(Lease&& other) noexcept;
    Lease& operator=(Lease&& other) noexcept;
    ~Lease();

   private:
    friend WorkBudget;
    Lease(WorkBudget* budget, int64_t bytes) : budget_(budget), bytes_(bytes) {}
    WorkBudget* budget_ = nullptr;
    int64_t bytes_ = 0;
  };

  // Waits until there is room; an empty lease when stopped. Never call it with a lease in hand: two threads could wait for
  // each other.
  Lease acquire(int64_t bytes, const std::stop_token& stop);

 private:
  void give_back(int64_t bytes);

  const int chunks_;
  const int64_t bytes_;
  std::mutex mutex_;
  std::condition_variable_any changed_;
  int chunks_taken_ = 0;
  int64_t bytes_taken_ = 0;
};

// A quarter of this machine's memory, at most 2 GiB.
int64_t default_memory_limit();
int default_threads();

}  // namespace snowmelt
