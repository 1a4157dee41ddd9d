// Counters that workers raise and a display reads; relaxed atomics, so that counting costs nothing.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <string>
#include <utility>

namespace snowmelt {

// Values that a policy of [[table]] changed.
struct PolicyCounts {
  std::atomic<int64_t> on_nul{0};
  std::atomic<int64_t> on_out_of_range{0};
  std::atomic<int64_t> on_subsecond{0};
};

// A sentence that one thread sets and a display reads; empty: nothing to tell.
class ProgressNote {
 public:
  void set(std::string text) {
    const std::lock_guard lock(mutex_);
    text_ = std::move(text);
  }
  std::string get() const {
    const std::lock_guard lock(mutex_);
    return text_;
  }

 private:
  mutable std::mutex mutex_;
  std::string text_;
};

// What is waited for, in a display, for as long as this lives.
class WaitingNote {
 public:
  explicit WaitingNote(ProgressNote* note) : note_(note) {}
  ~WaitingNote() { set(""); }
  WaitingNote(const WaitingNote&) = delete;
  WaitingNote& operator=(const WaitingNote&) = delete;
  void set(std::string text) {
    if (note_ != nullptr) note_->set(std::move(text));
  }

 private:
  ProgressNote* note_;  // may be null
};

struct TableProgress {
  std::atomic<int64_t> rows_total{-1};     // -1 until the server has answered
  std::atomic<int64_t> rows_exported{0};   // encoded into Parquet row groups
  std::atomic<int64_t> bytes_exported{0};  // encoded Parquet bytes
  std::atomic<int64_t> rows_loaded{0};     // encoded for COPY
  std::atomic<int64_t> bytes_loaded{0};    // COPY bytes sent
  PolicyCounts policies;
  ProgressNote waiting;  // for whom the table waits: "the lock of public.t, held by pid 4242 (psql)"
};

}  // namespace snowmelt
