// Decodes and encodes parts on a thread of its own, a few buffers ahead of the connection that sends them.
#pragma once

#include <condition_variable>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <thread>

#include "snowmelt/load/copy_encoder.h"
#include "snowmelt/load/part_feed.h"

namespace snowmelt {

struct EncodeJob {
  PartFeed& parts;  // shared where several connections load one table
  const FilePlanner& plan;
  PolicyCounts& policies;
  const LoadOptions& options;
};

class EncoderThread {
 public:
  explicit EncoderThread(EncodeJob job);
  ~EncoderThread();  // stops at the next buffer

  // The next filled buffer, or nullptr at the end, which comes early once the feed has dropped what this thread was at. Throws
  // what stopped the thread.
  std::unique_ptr<CopyBuffer> next();
  // Gives a sent buffer back, for its memory to be used again.
  void recycle(std::unique_ptr<CopyBuffer> buffer);
  // After the end.
  int64_t rows() const { return rows_; }
  // After next() has thrown: the first row of the item that failed, or PartFeed::kProducer.
  int64_t failed_row() const { return at_row_; }

 private:
  void work();
  void encode_file(PartFeed::Item& item);
  void plan_file(const PartFeed::Item& item);
  void put(std::unique_ptr<CopyBuffer> buffer);
  std::unique_ptr<CopyBuffer> empty_buffer();

  EncodeJob job_;
  std::shared_ptr<arrow::Schema> schema_;  // of the files that plan_ and encoder_ are for
  std::shared_ptr<const FilePlan> plan_;
  std::optional<CopyEncoder> encoder_;
  int64_t rows_ = 0;
  int64_t at_row_ = PartFeed::kProducer;  // the first row of the item in hand
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::unique_ptr<CopyBuffer>> filled_;
  size_t bytes_ahead_ = 0;  // of the filled ones, and of those given out
  std::deque<std::unique_ptr<CopyBuffer>> empty_;
  std::exception_ptr error_;
  bool done_ = false;
  bool abandoned_ = false;
  std::jthread thread_;  // last: it uses the rest
};

}  // namespace snowmelt
