#include "snowmelt/load/encoder_thread.h"

#include "snowmelt/error.h"

namespace snowmelt {
namespace {

// Three buffers of about 1 MB bridge the server's pauses (a WAL flush takes some ms); more only costs memory. Of rows that fill
// these bytes one by one, one buffer is sent while the next is made.
constexpr size_t kBuffersAhead = 3;
constexpr size_t kBufferBytes = 1 << 20;
constexpr size_t kBytesAhead = 8 << 20;

[[noreturn]] void throw_stopped() { throw Interrupted("load.stopped", "the load was stopped; nothing of it stays"); }

}  // namespace

EncoderThread::EncoderThread(EncodeJob job) : job_(std::move(job)), thread_([this] { work(); }) {}

EncoderThread::~EncoderThread() {
  std::lock_guard lock(mutex_);
  abandoned_ = true;
  changed_.notify_all();
}

std::unique_ptr<CopyBuffer> EncoderThread::next() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return !filled_.empty() || done_; });
  if (error_) std::rethrow_exception(error_);
  if (filled_.empty()) return nullptr;
  auto buffer = std::move(filled_.front());
  filled_.pop_front();
  changed_.notify_all();
  return buffer;
}

void EncoderThread::recycle(std::unique_ptr<CopyBuffer> buffer) {
  std::lock_guard lock(mutex_);
  bytes_ahead_ -= buffer->size();
  buffer->clear();
  if (buffer->capacity() <= kBytesAhead) empty_.push_back(std::move(buffer));
  changed_.notify_all();
}

void EncoderThread::work() {
  std::exception_ptr error;
  try {
    while (auto item = job_.parts.next()) {
      at_row_ = item->first_row;
      encode_file(*item);
      at_row_ = PartFeed::kProducer;
    }
  } catch (const ValueError&) {
    error = std::current_exception();
    job_.parts.drop_from(at_row_);
  } catch (...) {
    error = std::current_exception();
  }
  std::lock_guard lock(mutex_);
  error_ = error;
  done_ = true;
  changed_.notify_all();
}

void EncoderThread::plan_file(const PartFeed::Item& item) {
  if (schema_ && item.reader->schema()->Equals(*schema_, /*check_metadata=*/false)) return;
  plan_ = job_.plan(*item.reader, item.file);
  encoder_.emplace(plan_->columns);
  schema_ = item.reader->schema();
}

void EncoderThread::encode_file(PartFeed::Item& item) {
  try {
    plan_file(item);
    int64_t row = item.first_row;
    auto buffer = empty_buffer();
    while (const auto batch = item.reader->next()) {
      if (!job_.parts.wanted(item.first_row)) return;
      if (job_.options.stop.stop_requested()) throw_stopped();
      const auto adapted = apply_policies(plan_->columns, job_.options, plan_->adapter.adapt(*batch, row), row, job_.policies);
      for (int64_t next = 0; next < adapted->num_rows();) {
        if (job_.options.stop.stop_requested()) throw_stopped();
        next = encoder_->encode(*adapted, next, row, kBufferBytes, *buffer);
        if (buffer->size() < kBufferBytes) continue;
        put(std::move(buffer));
        buffer = empty_buffer();
      }
      row += batch->num_rows();
      rows_ += batch->num_rows();
      if (job_.options.progress != nullptr) job_.options.progress->rows_loaded += batch->num_rows();
    }
    if (buffer->size() != 0) put(std::move(buffer));
  } catch (Error& error) {
    if (error.kind() == ErrorKind::value) error.add_where("file " + item.file);
    throw;
  }
}

void EncoderThread::put(std::unique_ptr<CopyBuffer> buffer) {
  std::unique_lock lock(mutex_);
  const auto fits = [&] {
    return filled_.size() < kBuffersAhead && (bytes_ahead_ == 0 || bytes_ahead_ + buffer->size() <= kBytesAhead);
  };
  changed_.wait(lock, [&] { return fits() || abandoned_; });
  if (abandoned_) throw Interrupted("load.abandoned", "the connection has given up");
  bytes_ahead_ += buffer->size();
  filled_.push_back(std::move(buffer));
  changed_.notify_all();
}

std::unique_ptr<CopyBuffer> EncoderThread::empty_buffer() {
  std::lock_guard lock(mutex_);
  if (empty_.empty()) return std::make_unique<CopyBuffer>();
  auto buffer = std::move(empty_.front());
  empty_.pop_front();
  return buffer;
}

}  // namespace snowmelt
