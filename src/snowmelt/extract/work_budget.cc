#include "snowmelt/extract/work_budget.h"

#include <algorithm>
#include <utility>

#include "snowmelt/machine_limits.h"

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

void WorkBudget::Lease::raise_to(int64_t bytes) {
  if (budget_ == nullptr || bytes <= bytes_) return;
  const std::lock_guard lock(budget_->mutex_);
  budget_->bytes_taken_ += bytes - bytes_;
  bytes_ = bytes;
}

WorkBudget::WorkBudget(int chunks, int64_t bytes, int turns) : chunks_(chunks), bytes_(bytes) {
  for (int i = 0; i < turns; ++i) {
    hands_.push_back(std::make_unique<Hand>());
    free_hands_.push_back(hands_.back().get());
  }
}

WorkBudget::Lease WorkBudget::acquire(int64_t bytes, const std::stop_token& stop) {
  std::unique_lock lock(mutex_);
  const auto fits = [&] { return chunks_taken_ < chunks_ && (bytes <= bytes_ - bytes_taken_ || chunks_taken_ == 0); };
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

WorkBudget::Turn WorkBudget::take_turn(const std::stop_token& stop) {
  std::unique_lock lock(mutex_);
  if (!changed_.wait(lock, stop, [&] { return !free_hands_.empty(); })) return {};
  Turn turn(free_hands_.back(), {this});
  free_hands_.pop_back();
  return turn;
}

void WorkBudget::give_back(Hand* hand) {
  {
    const std::lock_guard lock(mutex_);
    free_hands_.push_back(hand);
  }
  changed_.notify_all();
}

WorkBudget::Hand::Hand() : thread_([this](const std::stop_token& stop) { wait_for_work(stop); }) {}

void WorkBudget::Hand::run(const std::function<void()>& work) {
  std::unique_lock lock(mutex_);
  work_ = &work;
  changed_.notify_all();
  changed_.wait(lock, [&] { return work_ == nullptr; });
  if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
}

void WorkBudget::Hand::wait_for_work(const std::stop_token& stop) {
  std::unique_lock lock(mutex_);
  while (changed_.wait(lock, stop, [&] { return work_ != nullptr; })) {
    lock.unlock();
    std::exception_ptr error;
    try {
      (*work_)();
    } catch (...) {
      error = std::current_exception();
    }
    lock.lock();
    error_ = std::move(error);
    work_ = nullptr;
    changed_.notify_all();
  }
}

std::shared_ptr<WorkBudget> make_work_budget(int threads, int downloads, int64_t memory_limit) {
  const int turns = threads > 0 ? threads : default_threads();
  return std::make_shared<WorkBudget>(downloads > 0 ? downloads : default_downloads(turns),
                                      memory_limit > 0 ? memory_limit : default_memory_limit(), turns);
}

// Storage answers after some 100 ms and gives one connection a part of what the line has; a chunk's own work takes some 40 ms.
int default_downloads(int threads) {
  constexpr int kLeast = 6;
  return std::max(kLeast, threads);
}

int default_threads() { return machine_limits().cores; }

}  // namespace snowmelt
