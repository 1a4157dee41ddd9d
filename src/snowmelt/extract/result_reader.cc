#include "snowmelt/extract/result_reader.h"

#include <condition_variable>
#include <deque>
#include <exception>
#include <map>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "snowmelt/error.h"
#include "snowmelt/extract/result_source.h"
#include "snowmelt/extract/work_budget.h"
#include "snowmelt/foreign_error.h"
#include "snowmelt/lowest_failure.h"
#include "snowmelt/machine_limits.h"

namespace snowmelt {
namespace {

using Batches = std::deque<std::shared_ptr<arrow::RecordBatch>>;

// Workers take units in order and put them back by their first row; room for a unit is kept until it was read, so that a worker
// far ahead of the reader waits.
class OrderedReader final : public ResultReader {
 public:
  OrderedReader(std::shared_ptr<SourceSession> session, StatementResult result, const ResultReaderOptions& options)
      : converter_(std::make_shared<WireConverter>(result.row_type, options.rules)),
        arrow_(result.arrow),
        http_(http_options(*session)),
        source_(std::move(session), std::move(result), converter_) {
    const int wanted = options.threads > 0 ? options.threads : default_threads();
    const int threads = std::min(wanted, source_.units());
    constexpr int kUnitsOfThread = 3;  // one in hand, two ahead
    budget_ = std::make_shared<WorkBudget>(kUnitsOfThread * threads,
                                           options.memory_limit > 0 ? options.memory_limit : default_memory_limit(), 0);
    running_ = threads;
    try {
      for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { work(); });
    } catch (...) {  // those that were started wait for a reader that never comes
      stop();
      rethrow_as_error();
    }
  }

  ~OrderedReader() override { stop(); }

  void stop() noexcept override {
    stopping_.request_stop();
    const std::lock_guard lock(mutex_);
    changed_.notify_all();
  }

  std::shared_ptr<arrow::Schema> schema() const override { return converter_->schema(); }

  std::shared_ptr<arrow::RecordBatch> next() override {
    while (current_.batches.empty()) {
      current_ = {};  // its room is free again
      if (next_row_ == source_.total()) return nullptr;
      std::unique_lock lock(mutex_);
      changed_.wait(
          lock, [&] { return ready_.contains(next_row_) || failure_.ends_all() || running_ == 0 || stopping_.stop_requested(); });
      // A value error's turn comes after the rows before its unit.
      if (failure_.ends_all() || (failure_ && !ready_.contains(next_row_) && running_ == 0))
        std::rethrow_exception(failure_.error());
      if (stopping_.stop_requested()) throw Interrupted("snowflake.interrupted", "reading the result was stopped");
      const auto found = ready_.find(next_row_);
      if (found == ready_.end()) {
        throw VerificationError("snowflake.counts_differ", "the result ended before the rows the server announced");
      }
      next_row_ += found->second.rows;
      current_ = std::move(found->second);
      ready_.erase(found);
    }
    std::shared_ptr<arrow::RecordBatch> batch = std::move(current_.batches.front());
    if (current_.wire) {
      const int64_t rows = batch->num_rows();
      batch = converter_->convert(*batch, current_.first_row);
      current_.first_row += rows;
    }
    current_.batches.pop_front();
    return batch;
  }

  arrow::Status ReadNext(std::shared_ptr<arrow::RecordBatch>* batch) override {
    try {
      *batch = next();
      return arrow::Status::OK();
    } catch (const std::exception& error) {
      return arrow::Status::IOError(error.what());
    }
  }

 private:
  struct Unit {
    int64_t rows = 0;
    Batches batches = {};
    bool wire = false;      // the pieces of what was cut are converted when they are read …
    int64_t first_row = 0;  // … this the first row of the next one
    WorkBudget::Lease lease = {};
  };

  void work() noexcept {
    UnitData data;
    try {
      const auto feed = source_.open_feed(http_, RetryPolicy{}, budget_, stopping_.get_token());
      while (feed->next(data)) {
        const int64_t first_row = data.first_row;
        Unit unit = convert(data);
        data = {.index = data.index};
        const std::lock_guard lock(mutex_);
        if (!failure_.matters(data.index) || stopping_.stop_requested()) break;
        if (unit.rows > 0) ready_.emplace(first_row, std::move(unit));
        changed_.notify_all();
      }
    } catch (...) {
      fail(std::current_exception(), data.index);
    }
    const std::lock_guard lock(mutex_);
    --running_;
    changed_.notify_all();
  }

  void fail(std::exception_ptr error, int place) {
    {
      const std::lock_guard lock(mutex_);
      if (!failure_.add(std::move(error), place) || failure_.ends_all()) return;
    }
    source_.drop_above(place);
  }

  Unit convert(UnitData& data) const {
    Unit unit{.rows = data.rows, .first_row = data.first_row, .lease = std::move(data.lease)};
    if (data.cut) {
      unit.wire = true;
      unit.batches = {data.batches.begin(), data.batches.end()};
      return unit;
    }
    if (!arrow_) {
      if (data.rows > 0) unit.batches.push_back(converter_->convert_rows(data.text_rows, data.first_row));
      return unit;
    }
    int64_t first_row = data.first_row;
    for (const auto& wire : data.batches) {
      if (wire->num_rows() > 0) unit.batches.push_back(converter_->convert(*wire, first_row));
      first_row += wire->num_rows();
    }
    return unit;
  }

  std::shared_ptr<const WireConverter> converter_;
  const bool arrow_;
  const HttpOptions http_;
  ResultSource source_;
  std::shared_ptr<WorkBudget> budget_;  // outlives the leases below
  Unit current_;                        // the reader's own
  std::stop_source stopping_;
  std::mutex mutex_;  // of what follows
  std::condition_variable changed_;
  std::map<int64_t, Unit> ready_;
  int64_t next_row_ = 0;
  LowestFailure failure_;
  int running_ = 0;
  std::vector<std::jthread> threads_;  // last: joined before the rest goes
};

}  // namespace

std::shared_ptr<ResultReader> open_result_reader(std::shared_ptr<SourceSession> session, StatementResult result,
                                                 const ResultReaderOptions& options) {
  return std::make_shared<OrderedReader>(std::move(session), std::move(result), options);
}

}  // namespace snowmelt
