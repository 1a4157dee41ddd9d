#include "snowmelt/extract/extraction.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "snowmelt/error.h"

namespace snowmelt {
namespace fs = std::filesystem;

namespace {
// A part is closed at this many units at the latest: parts become ready to load all along a table.
constexpr int kPartUnitsMax = 8;
}  // namespace

// One thread: unit after unit from the wire into its own part file.
class Extraction::Impl::Worker {
 public:
  Worker(Impl& owner, std::unique_ptr<UnitFeed> feed) : owner_(owner), feed_(std::move(feed)) {}

  void run() {
    UnitData unit;
    while (feed_->next(unit)) {
      if (!part_) open_part();
      write(unit);
      unit = {};  // its buffers are free before the next download
      if (++part_units_ == kPartUnitsMax || part_->bytes_written() >= owner_.job.part_size) close_part();
    }
    if (part_ && !owner_.stopping_.stop_requested()) close_part();
  }

 private:
  void open_part() {
    const ExtractionJob& job = owner_.job;
    part_ = std::make_unique<ParquetPartWriter>(job.directory, owner_.next_part_name(), job.converter->schema(),
                                                job.converter->columns(), job.writer);
    part_units_ = 0;
    part_bytes_reported_ = 0;
  }

  void close_part() {
    const PartInfo info = part_->finish();
    part_.reset();
    report(0, info.bytes);
    owner_.part_finished(info);
  }

  void report(int64_t rows, int64_t part_bytes) {
    if (TableProgress* progress = owner_.job.progress) {
      progress->rows_exported += rows;
      progress->bytes_exported += part_bytes - part_bytes_reported_;
    }
    part_bytes_reported_ = part_bytes;
  }

  void write(const UnitData& unit) {
    const WireConverter& converter = *owner_.job.converter;
    if (!unit.text_rows.empty()) {
      part_->write_row_group({converter.convert_rows(unit.text_rows, unit.first_row)});
    } else {
      part_->write_row_group(unit.rows, [&](int field) { return column(unit, field); });
    }
    report(unit.rows, part_->bytes_written());
  }

  std::shared_ptr<arrow::ChunkedArray> column(const UnitData& unit, int field) const {
    const WireConverter& converter = *owner_.job.converter;
    try {
      return convert(unit, field);
    } catch (ValueError& first) {  // the other columns' offenders are named in the same breath
      for (int other = field + 1; other < converter.schema()->num_fields(); ++other) {
        try {
          convert(unit, other);
        } catch (const ValueError& offender) {
          first.add_offender(offender);
        }
      }
      throw;
    }
  }

  std::shared_ptr<arrow::ChunkedArray> convert(const UnitData& unit, int field) const {
    const WireConverter& converter = *owner_.job.converter;
    arrow::ArrayVector arrays;
    int64_t first_row = unit.first_row;
    for (const auto& batch : unit.batches) {
      arrays.push_back(converter.convert_column(field, *batch, first_row));
      first_row += batch->num_rows();
    }
    return std::make_shared<arrow::ChunkedArray>(std::move(arrays), converter.schema()->field(field)->type());
  }

  Impl& owner_;
  std::unique_ptr<UnitFeed> feed_;
  std::unique_ptr<ParquetPartWriter> part_;
  int part_units_ = 0;
  int64_t part_bytes_reported_ = 0;
};

Extraction::Impl::Impl(ExtractionJob job_in) : job(std::move(job_in)) {
  try {
    start();
  } catch (...) {
    abandon();
    throw;
  }
  on_user_stop_.emplace(job.stop, [this] {
    fail(std::make_exception_ptr(
        Interrupted("extract.stopped", "the export was stopped",
                    {.where = job.table, .hint = "run the same command again: nothing of this table was kept"})));
  });
}

Extraction::Impl::~Impl() {
  on_user_stop_.reset();
  if (!published) abandon();
}

void Extraction::Impl::start() {
  std::vector<std::unique_ptr<UnitFeed>> feeds;
  if (job.cursor_feed) {
    feeds.push_back(std::move(job.cursor_feed));  // a cursor is for one thread
  } else {
    const int threads = std::clamp(job.threads, 1, std::max(job.source->units(), 1));
    for (int i = 0; i < threads; ++i)
      feeds.push_back(job.source->open_feed(job.http, RetryPolicy{}, job.budget, stopping_.get_token()));
  }
  if (job.read_metadata) threads_.emplace_back([this] { metadata_ = job.read_metadata(stopping_.get_token()); });
  running_ = static_cast<int>(feeds.size());
  for (auto& feed : feeds) {
    threads_.emplace_back([this, feed = std::move(feed)]() mutable {
      try {
        Worker(*this, std::move(feed)).run();
      } catch (Error& error) {
        error.add_where(job.table);
        fail(std::current_exception());
      } catch (const std::exception& error) {
        fail(std::make_exception_ptr(BugError("extract.failed", error.what(), {.where = job.table})));
      }
      worker_ended();
    });
  }
}

std::string Extraction::Impl::next_part_name() {
  const std::lock_guard lock(mutex_);
  return fmt::format("part-{}-{:05}.parquet", job.manifest.export_id, parts_opened_++);
}

void Extraction::Impl::part_finished(PartInfo part) {
  const std::lock_guard lock(mutex_);
  parts_.push_back(part);
  ready_.push_back(std::move(part));
  changed_.notify_all();
}

void Extraction::Impl::fail(std::exception_ptr error) {
  {
    const std::lock_guard lock(mutex_);
    if (!error_) error_ = std::move(error);  // the first cause; what follows from stopping the others is not one
    changed_.notify_all();
  }
  stopping_.request_stop();
}

void Extraction::Impl::worker_ended() {
  const std::lock_guard lock(mutex_);
  --running_;
  changed_.notify_all();
}

std::optional<PartInfo> Extraction::Impl::next() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return !ready_.empty() || error_ || running_ == 0; });
  if (error_) {
    const std::exception_ptr error = error_;
    lock.unlock();
    abandon();
    std::rethrow_exception(error);
  }
  if (!ready_.empty()) {
    PartInfo part = std::move(ready_.front());
    ready_.pop_front();
    return part;
  }
  lock.unlock();
  if (!published) {
    try {
      publish();
    } catch (...) {
      fail(std::current_exception());
      abandon();
      throw;
    }
  }
  return std::nullopt;
}

// Each unit was counted; this holds their sum against what the server said of the whole.
void Extraction::Impl::check_total() const {
  if (!job.source || job.manifest.rows == job.source->total()) return;
  throw VerificationError("snowflake.counts_differ",
                          fmt::format("{} rows were written, the server's total is {}", job.manifest.rows, job.source->total()),
                          {.where = job.table, .hint = "export the table again", .query_id = job.manifest.query_id});
}

void Extraction::Impl::publish() {
  threads_.clear();  // joins
  std::sort(parts_.begin(), parts_.end(), [](const PartInfo& a, const PartInfo& b) { return a.file < b.file; });
  job.manifest.parts = parts_;
  job.manifest.metadata = metadata_;
  for (const PartInfo& part : parts_) {
    job.manifest.rows += part.rows;
    job.manifest.bytes += part.bytes;
  }
  check_total();
  publish_manifest(job.directory, job.manifest);
  published = true;
  job.lock.reset();
}

void Extraction::Impl::abandon() noexcept {
  stopping_.request_stop();
  threads_.clear();  // joins; unfinished parts remove themselves
  std::error_code ignored;
  for (const PartInfo& part : parts_) fs::remove(job.directory / part.file, ignored);
  parts_.clear();
  job.lock.reset();
}

Extraction::Extraction(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Extraction::Extraction(Extraction&&) noexcept = default;
Extraction::~Extraction() = default;

std::optional<PartInfo> Extraction::next() { return impl_->next(); }

const Manifest& Extraction::finish() {
  while (impl_->next()) {
  }
  return impl_->job.manifest;
}

const fs::path& Extraction::directory() const { return impl_->job.directory; }
const std::string& Extraction::salt() const { return impl_->job.manifest.salt; }
const std::string& Extraction::export_id() const { return impl_->job.manifest.export_id; }

}  // namespace snowmelt
