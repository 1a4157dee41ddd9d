#include "snowmelt/extract/extraction.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <span>
#include <utility>

#include "snowmelt/error.h"
#include "snowmelt/foreign_error.h"
#include "snowmelt/log.h"

namespace snowmelt {
namespace fs = std::filesystem;

namespace {
// A part is closed at this many units at the latest: parts become ready to load all along a table. Two units a part bring
// `run` to 0.93 of its time with eight, and an export of TPC-H lineitem costs the same.
constexpr int kPartUnitsMax = 2;
// After the last part. Keys and comments take some tenths of a second; a warehouse that is queued may take minutes.
constexpr std::chrono::seconds kMetadataPatience{5};
}  // namespace

// A part file that is being filled.
struct Extraction::Impl::OpenPart {
  OpenPart(const ExtractionJob& job, std::string name)
      : writer(job.directory, std::move(name), job.converter->schema(), job.converter->columns(), job.writer) {}
  ParquetPartWriter writer;
  int units = 0;
  int64_t bytes_reported = 0;
};

// One thread: unit after unit from the wire into whichever part is free.
class Extraction::Impl::Worker {
 public:
  Worker(Impl& owner, std::unique_ptr<UnitFeed> feed) : owner_(owner), feed_(std::move(feed)) {}

  void run() {
    UnitData unit;
    try {
      try {
        while (feed_->next(unit)) write_one(unit);
        if (owner_.will_publish()) owner_.close_spare_parts();
      } catch (...) {
        rethrow_as_error("extract.failed");
      }
    } catch (Error& error) {
      error.add_where(owner_.job.table);
      owner_.fail(std::current_exception(), unit.index);
    }
  }

 private:
  void write_one(UnitData& unit) {
    std::unique_ptr<OpenPart> part = owner_.take_part();
    if (unit.turn)
      unit.turn->run([&] { write(unit, *part); });
    else  // a cursor's rows
      write(unit, *part);
    const bool full = ++part->units == kPartUnitsMax || part->writer.bytes_written() >= owner_.job.part_size;
    // Before the turn, so that who has it next goes on with this part: there are no more open parts than turns.
    if (!full) owner_.put_back(std::move(part));
    unit = {.index = unit.index};  // its buffers and its turn are free before the next download
    if (full) owner_.close(std::move(part));
  }

  void write(const UnitData& unit, OpenPart& part) {
    const WireConverter& converter = *owner_.job.converter;
    if (!unit.text_rows.empty()) {
      part.writer.write_row_group({converter.convert_rows(unit.text_rows, unit.first_row)});
    } else if (!unit.cut) {
      write_row_group({unit.batches, unit.first_row, unit.rows}, part);
    } else {
      int64_t first_row = unit.first_row;
      for (const auto& batch : unit.batches) {
        write_row_group({{&batch, 1}, first_row, batch->num_rows()}, part);
        first_row += batch->num_rows();
      }
    }
    owner_.report(part, unit.rows, part.writer.bytes_written());
  }

  struct RowGroup {
    std::span<const std::shared_ptr<arrow::RecordBatch>> batches;
    int64_t first_row = 0;
    int64_t rows = 0;
  };

  void write_row_group(const RowGroup& group, OpenPart& part) const {
    part.writer.write_row_group(group.rows, [&](int field) { return column(group, field); });
  }

  std::shared_ptr<arrow::ChunkedArray> column(const RowGroup& group, int field) const {
    const WireConverter& converter = *owner_.job.converter;
    try {
      return convert(group, field);
    } catch (ValueError& first) {  // the other columns' offenders are named in the same breath
      for (int other = field + 1; other < converter.schema()->num_fields(); ++other) {
        try {
          convert(group, other);
        } catch (const ValueError& offender) {
          first.add_offender(offender);
        }
      }
      throw;
    }
  }

  std::shared_ptr<arrow::ChunkedArray> convert(const RowGroup& group, int field) const {
    const WireConverter& converter = *owner_.job.converter;
    arrow::ArrayVector arrays;
    int64_t first_row = group.first_row;
    for (const auto& batch : group.batches) {
      arrays.push_back(converter.convert_column(field, *batch, first_row));
      first_row += batch->num_rows();
    }
    return std::make_shared<arrow::ChunkedArray>(std::move(arrays), converter.schema()->field(field)->type());
  }

  Impl& owner_;
  std::unique_ptr<UnitFeed> feed_;
};

Extraction::Impl::Impl(ExtractionJob job_in) : job(std::move(job_in)) {
  try {
    start();
  } catch (...) {
    abandon();
    throw;
  }
  on_user_stop_.emplace(job.stop, [this] {
    fail(std::make_exception_ptr(Interrupted("extract.stopped", "the export was stopped",
                                             {.where = job.table, .hint = "nothing of this table was kept"})),
         LowestFailure::kNowhere);
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
    const int downloads = std::clamp(job.downloads, 1, std::max(job.source->units(), 1));
    for (int i = 0; i < downloads; ++i)
      feeds.push_back(job.source->open_feed(job.http, RetryPolicy{}, job.budget, stopping_.get_token()));
  }
  if (job.read_metadata) {
    metadata_thread_ = std::jthread([this] {
      TableMetadata metadata = job.read_metadata(metadata_stop_.get_token());
      const std::lock_guard lock(mutex_);
      metadata_ = std::move(metadata);
      metadata_read_ = true;
      changed_.notify_all();
    });
  }
  running_ = taking_ = static_cast<int>(feeds.size());
  for (auto& feed : feeds) {
    threads_.emplace_back([this, feed = std::move(feed)]() mutable {
      Worker(*this, std::move(feed)).run();
      worker_ended();
    });
  }
}

std::unique_ptr<Extraction::Impl::OpenPart> Extraction::Impl::take_part() {
  std::string name;
  {
    const std::lock_guard lock(mutex_);
    if (!idle_parts_.empty()) {
      auto part = std::move(idle_parts_.back());
      idle_parts_.pop_back();
      return part;
    }
    ++parts_open_;
    name = fmt::format("part-{}-{:05}.parquet", job.manifest.export_id, parts_opened_++);
  }
  return std::make_unique<OpenPart>(job, std::move(name));
}

void Extraction::Impl::put_back(std::unique_ptr<OpenPart> part) {
  const std::lock_guard lock(mutex_);
  idle_parts_.push_back(std::move(part));
}

void Extraction::Impl::close(std::unique_ptr<OpenPart> part) {
  PartInfo info = part->writer.finish();
  report(*part, 0, info.bytes);
  const std::lock_guard lock(mutex_);
  --parts_open_;
  parts_.push_back(info);
  ready_.push_back(std::move(info));
  changed_.notify_all();
}

// A worker that has found no further unit closes what the others cannot need any more, the last one all.
void Extraction::Impl::close_spare_parts() {
  bool first = true;
  for (;;) {
    std::unique_ptr<OpenPart> spare;
    {
      const std::lock_guard lock(mutex_);
      if (std::exchange(first, false)) --taking_;
      if (idle_parts_.empty() || parts_open_ <= taking_) return;
      spare = std::move(idle_parts_.back());
      idle_parts_.pop_back();
    }
    close(std::move(spare));
  }
}

void Extraction::Impl::report(OpenPart& part, int64_t rows, int64_t part_bytes) {
  if (const auto& progress = job.progress) {
    progress->rows_exported += rows;
    progress->bytes_exported += part_bytes - part.bytes_reported;
  }
  part.bytes_reported = part_bytes;
}

void Extraction::Impl::fail(std::exception_ptr error, int64_t place) {
  bool ends_all = false;
  {
    const std::lock_guard lock(mutex_);
    if (!failure_.add(std::move(error), place)) return;  // what follows from stopping the others is no cause
    ends_all = failure_.ends_all();
    changed_.notify_all();
  }
  if (ends_all) {
    stopping_.request_stop();
    metadata_stop_.request_stop();
  } else if (job.source) {
    job.source->drop_above(static_cast<int>(place));
  }
}

bool Extraction::Impl::will_publish() {
  const std::lock_guard lock(mutex_);
  return !failure_ && !stopping_.stop_requested();
}

void Extraction::Impl::worker_ended() {
  const std::lock_guard lock(mutex_);
  --running_;
  changed_.notify_all();
}

std::optional<PartInfo> Extraction::Impl::next() {
  std::unique_lock lock(mutex_);
  // A value error is told when the units below it are done.
  changed_.wait(lock, [&] { return running_ == 0 || failure_.ends_all() || (!failure_ && !ready_.empty()); });
  if (failure_) {
    const std::exception_ptr error = failure_.error();
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
      fail(std::current_exception(), LowestFailure::kNowhere);
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

void Extraction::Impl::end_metadata() {
  if (!metadata_thread_.joinable()) return;
  {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, kMetadataPatience, [&] { return metadata_read_ || failure_; });
    if (!metadata_read_ && !failure_)
      log(LogLevel::warning, "{}: keys and comments are left out: Snowflake did not tell them in time", job.table);
  }
  metadata_stop_.request_stop();
  metadata_thread_.join();
}

void Extraction::Impl::publish() {
  threads_.clear();  // joins
  end_metadata();
  if (stopping_.stop_requested()) throw Interrupted("extract.stopped", "the export was stopped", {.where = job.table});
  std::sort(parts_.begin(), parts_.end(), [](const PartInfo& a, const PartInfo& b) { return a.file < b.file; });
  job.manifest.parts = parts_;
  job.manifest.metadata = metadata_;
  for (const PartInfo& part : parts_) {
    job.manifest.rows += part.rows;
    job.manifest.bytes += part.bytes;
  }
  check_total();
  publish_manifest(job.directory, job.manifest, job.writer.key ? &*job.writer.key : nullptr, job.writer.permissions);
  published = true;
  if (job.lock.use_count() > 1) job.lock->share();
  job.lock.reset();
}

void Extraction::Impl::abandon() noexcept {
  stopping_.request_stop();
  metadata_stop_.request_stop();
  threads_.clear();  // joins
  if (metadata_thread_.joinable()) metadata_thread_.join();
  idle_parts_.clear();  // unfinished parts remove themselves
  remove_parts(job.directory, parts_);
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
std::shared_ptr<DirectoryLock> Extraction::lock() const { return impl_->job.lock; }
const std::string& Extraction::export_id() const { return impl_->job.manifest.export_id; }

}  // namespace snowmelt
