// Arrow memory with a limit: what a file or a server makes a reader allocate ends there.
#pragma once

#include <arrow/memory_pool.h>

#include <atomic>
#include <memory>
#include <string>

namespace snowmelt {

// Allocations beyond the limit fail as OutOfMemory. Arrow's buffers know their pool by address and may outlive whoever made it:
// it lives until its owner and the last buffer are gone.
class LimitedPool final : public arrow::MemoryPool {
 public:
  struct Leave {
    void operator()(LimitedPool* pool) const noexcept { pool->unref(); }
  };
  using Owner = std::unique_ptr<LimitedPool, Leave>;
  static Owner make(int64_t limit) { return Owner(new LimitedPool(limit)); }

  void set_limit(int64_t limit) { limit_ = limit; }
  int64_t limit() const { return limit_; }

  using MemoryPool::Allocate;
  using MemoryPool::Reallocate;
  arrow::Status Allocate(int64_t size, int64_t alignment, uint8_t** out) override;
  arrow::Status Reallocate(int64_t old_size, int64_t new_size, int64_t alignment, uint8_t** ptr) override;
  void Free(uint8_t* buffer, int64_t size, int64_t alignment) override;
  int64_t bytes_allocated() const override { return bytes_; }
  int64_t max_memory() const override { return -1; }
  int64_t total_bytes_allocated() const override { return total_; }
  int64_t num_allocations() const override { return count_; }
  std::string backend_name() const override { return inner_->backend_name(); }

 private:
  explicit LimitedPool(int64_t limit) : limit_(limit) {}
  ~LimitedPool() override = default;
  arrow::Status take(int64_t more);
  void unref() noexcept {
    if (--references_ == 0) delete this;
  }

  arrow::MemoryPool* const inner_ = arrow::default_memory_pool();
  std::atomic<int64_t> limit_;
  std::atomic<int64_t> references_{1};  // the owner, and each allocation
  std::atomic<int64_t> bytes_{0};
  std::atomic<int64_t> total_{0};
  std::atomic<int64_t> count_{0};
};

}  // namespace snowmelt
