#include "snowmelt/extract/work_budget.h"

#include <unistd.h>

#include <algorithm>
#include <thread>
#include <utility>

namespace snowmelt {

WorkBudget::Lease::Lease(Lease&& other) noexcept : budget_(std::exchange(other.budget_, nullptr)), bytes_(other.bytes_) {}

WorkBudget::Lease& WorkBudget::Lease::operator=(Lease&& other) noexcept {
  if (budget_ != nullptr) budget_->give_back(bytes_);
  budget_ = std::exchange(other.budget_, nullptr);
  bytes_ = other.bytes_;
  return *this;
}

WorkBudget::Lease::~Lease() {
  if (budget_ != nullptr) budget_->give_back(bytes_);
}

WorkBudget::Lease WorkBudget::acquire(int64_t bytes, const std::stop_token& stop) {
  std::unique_lock lock(mutex_);
  const auto fits = [&] { return chunks_taken_ < chunks_ && (bytes_taken_ + bytes <= bytes_ || chunks_taken_ == 0); };
  if (!changed_.wait(lock, stop, fits)) return {};
  ++chunks_taken_;
  bytes_taken_ += bytes;
  return {this, bytes};
}

void WorkBudget::give_back(int64_t bytes) {
  {
    const std::lock_guard lock(mutex_);
    --chunks_taken_;
    bytes_taken_ -= bytes;
  }
  changed_.notify_all();
}

int64_t default_memory_limit() {
  constexpr int64_t kMost = int64_t{2} << 30;
  return std::min(kMost, int64_t{::sysconf(_SC_PHYS_PAGES)} * ::sysconf(_SC_PAGESIZE) / 4);
}

int default_threads() { return static_cast<int>(std::max(1U, std::thread::hardware_concurrency())); }

}  // namespace snowmelt
