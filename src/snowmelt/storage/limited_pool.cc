#include "snowmelt/storage/limited_pool.h"

#include <arrow/status.h>

namespace snowmelt {

arrow::Status LimitedPool::take(int64_t more) {
  const int64_t limit = limit_;
  if (more > 0 && (more > limit || (bytes_ += more) > limit)) {
    if (more <= limit) bytes_ -= more;
    return arrow::Status::OutOfMemory("more than ", limit, " bytes are wanted");
  }
  return arrow::Status::OK();
}

arrow::Status LimitedPool::Allocate(int64_t size, int64_t alignment, uint8_t** out) {
  ARROW_RETURN_NOT_OK(take(size));
  const arrow::Status status = inner_->Allocate(size, alignment, out);
  if (!status.ok()) {
    bytes_ -= size;
    return status;
  }
  ++references_;
  ++count_;
  total_ += size;
  return status;
}

arrow::Status LimitedPool::Reallocate(int64_t old_size, int64_t new_size, int64_t alignment, uint8_t** ptr) {
  ARROW_RETURN_NOT_OK(take(new_size - old_size));
  const arrow::Status status = inner_->Reallocate(old_size, new_size, alignment, ptr);
  if (!status.ok()) {
    if (new_size > old_size) bytes_ -= new_size - old_size;
    return status;
  }
  if (new_size < old_size) bytes_ -= old_size - new_size;
  ++count_;
  total_ += new_size > old_size ? new_size - old_size : 0;
  return status;
}

void LimitedPool::Free(uint8_t* buffer, int64_t size, int64_t alignment) {
  inner_->Free(buffer, size, alignment);
  bytes_ -= size;
  unref();
}

}  // namespace snowmelt
