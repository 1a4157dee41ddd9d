// Asking PostgreSQL to cancel a statement, without waiting for it to agree.
#pragma once

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>

#include "snowmelt/connections/handles.h"

namespace snowmelt {

// PQcancel connects and waits with no limit of its own, so it runs on a thread that is left behind if the server stays silent.
class CancelRequest {
 public:
  // Null where no thread can be had. `key` is owned by the request until it is over.
  static std::shared_ptr<CancelRequest> send(std::shared_ptr<PGcancel> key) noexcept;
  // True once the server has taken the request: then it cannot hit a later statement.
  bool taken_by(std::chrono::steady_clock::time_point deadline);

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool over_ = false;
};

}  // namespace snowmelt
