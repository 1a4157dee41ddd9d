#include "snowmelt/connections/postgres_cancel.h"

#include <array>
#include <thread>
#include <utility>

namespace snowmelt {

std::shared_ptr<CancelRequest> CancelRequest::send(std::shared_ptr<PGcancel> key) noexcept try {
  if (key == nullptr) return nullptr;
  auto request = std::make_shared<CancelRequest>();
  std::thread([request, key = std::move(key)] {
    std::array<char, 256> problem{};
    PQcancel(key.get(), problem.data(), static_cast<int>(problem.size()));
    const std::lock_guard lock(request->mutex_);
    request->over_ = true;
    request->changed_.notify_all();
  }).detach();
  return request;
} catch (const std::exception&) {
  return nullptr;
}

bool CancelRequest::taken_by(std::chrono::steady_clock::time_point deadline) {
  std::unique_lock lock(mutex_);
  return changed_.wait_until(lock, deadline, [this] { return over_; });
}

}  // namespace snowmelt
