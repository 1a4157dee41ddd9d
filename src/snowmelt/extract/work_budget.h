// How much the extractions of one run do at once: chunks in hand, the bytes those may take, and how many of them are worked on.
// Several tables share one.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <stop_token>
#include <thread>
#include <vector>

namespace snowmelt {

class WorkBudget {
 public:
  // At most `chunks` chunks, and `bytes` of memory for them; a chunk larger than all of that is let through alone. `turns` of
  // them are inflated, converted and written at the same time; the others are on their way or wait. With no turns that is the
  // business of the threads that ask.
  WorkBudget(int chunks, int64_t bytes, int turns);

  // Given back by its destructor.
  class Lease {
   public:
    Lease() = default;
    Lease(Lease&& other) noexcept;
    Lease& operator=(Lease&& other) noexcept;
    ~Lease();
    // For a chunk that turned out larger than announced: those that come next wait for it too. Does not wait itself.
    void raise_to(int64_t bytes);
    explicit operator bool() const { return budget_ != nullptr; }

   private:
    friend WorkBudget;
    Lease(WorkBudget* budget, int64_t bytes) : budget_(budget), bytes_(bytes) {}
    WorkBudget* budget_ = nullptr;
    int64_t bytes_ = 0;
  };

  // Waits until there is room; an empty lease when stopped. Never call it with a lease in hand: two threads could wait for
  // each other.
  Lease acquire(int64_t bytes, const std::stop_token& stop);

  // A thread that inflates, converts and writes. It is few threads that do so because each keeps some 20 MB of freed memory for
  // its next chunk: with the work on the eight downloading threads of a trial, an export took 290 MB instead of 190.
  class Hand {
   public:
    Hand();
    // Runs `work` on this thread and waits; what it throws comes through.
    void run(const std::function<void()>& work);

   private:
    void wait_for_work(const std::stop_token& stop);
    std::mutex mutex_;
    std::condition_variable_any changed_;
    const std::function<void()>* work_ = nullptr;
    std::exception_ptr error_;
    std::jthread thread_;  // last: it uses the rest
  };
  struct GiveHandBack {
    WorkBudget* budget = nullptr;
    void operator()(Hand* hand) const noexcept { budget->give_back(hand); }
  };
  using Turn = std::unique_ptr<Hand, GiveHandBack>;
  // Waits for a hand; none when stopped. Asked for with a lease, never with a turn.
  Turn take_turn(const std::stop_token& stop);
  bool has_turns() const { return !hands_.empty(); }
  int64_t bytes() const { return bytes_; }

 private:
  void give_back(int64_t bytes);
  void give_back(Hand* hand);

  const int chunks_;
  const int64_t bytes_;
  std::mutex mutex_;
  std::condition_variable_any changed_;
  int chunks_taken_ = 0;
  int64_t bytes_taken_ = 0;
  std::vector<std::unique_ptr<Hand>> hands_;
  std::vector<Hand*> free_hands_;  // the one used last is the next: its memory is warm
};

// Each 0 for its default: `threads` the cores; `downloads` six, or `threads` where that is more; `memory_limit` as
// default_memory_limit() says.
std::shared_ptr<WorkBudget> make_work_budget(int threads, int downloads, int64_t memory_limit);
int default_threads();
int default_downloads(int threads);

}  // namespace snowmelt
