#include "snowmelt/extract/result_source.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "snowmelt/error.h"
#include "snowmelt/log.h"

namespace snowmelt {
namespace {

constexpr int kRefreshesMax = 3;   // of the URLs for one chunk; one is usual, after six hours
constexpr int kCountAttempts = 2;  // a unit that is damaged or has a wrong number of rows is fetched once more
constexpr size_t kCursorUnitRows = 16'384;

int64_t saturating_add(int64_t a, int64_t b) {
  int64_t sum = 0;
  return __builtin_add_overflow(a, b, &sum) ? std::numeric_limits<int64_t>::max() : sum;
}

int64_t saturating_multiply(int64_t a, int64_t b) {
  int64_t product = 0;
  return __builtin_mul_overflow(a, b, &product) ? std::numeric_limits<int64_t>::max() : product;
}

void check_same_result(const StatementResult& before, const StatementResult& now) {
  const auto same_chunk = [](const ResultChunk& a, const ResultChunk& b) {
    return a.rows == b.rows && a.uncompressed_size == b.uncompressed_size && a.compressed_size == b.compressed_size;
  };
  if (before.total == now.total && before.arrow == now.arrow &&
      std::equal(before.chunks.begin(), before.chunks.end(), now.chunks.begin(), now.chunks.end(), same_chunk)) {
    return;
  }
  throw VerificationError("snowflake.result_changed", "asked for its result again, the server gave other chunks than before",
                          {.hint = "export the table again", .query_id = before.query_id});
}

class CursorFeed : public UnitFeed {
 public:
  explicit CursorFeed(std::unique_ptr<Cursor> cursor) : cursor_(std::move(cursor)) {}

  bool next(UnitData& unit) override {
    if (ended_) return false;
    unit.index = index_++;
    unit.name = fmt::format("the rows from {} on", first_row_ + 1);
    unit.first_row = first_row_;
    unit.text_rows = cursor_->fetchmany(kCursorUnitRows);
    unit.rows = static_cast<int64_t>(unit.text_rows.size());
    ended_ = unit.text_rows.size() < kCursorUnitRows;
    first_row_ += unit.rows;
    return true;
  }

 private:
  std::unique_ptr<Cursor> cursor_;
  int index_ = 0;
  int64_t first_row_ = 0;
  bool ended_ = false;
};

}  // namespace

class ResultSource::Feed : public UnitFeed {
 public:
  Feed(ResultSource& source, const HttpOptions& http, const RetryPolicy& retries, std::shared_ptr<WorkBudget> budget,
       std::stop_token stop)
      : source_(source),
        budget_(std::move(budget)),
        on_stop_(std::move(stop), [this] { give_up(); }),
        unannounced_max_(budget_ ? std::min(budget_->bytes(), kUnannouncedBytesMax) : kUnannouncedBytesMax),
        downloader_(http, retries, stop_, unannounced_max_) {
    const std::lock_guard lock(source_.taking_);
    source_.feeds_.insert(this);
  }
  ~Feed() override {
    const std::lock_guard lock(source_.taking_);
    source_.feeds_.erase(this);
  }

  bool next(UnitData& unit) override {
    if (stop_.stop_requested()) return false;
    WorkBudget::Lease lease;
    size_t index = 0;
    {
      // Who keeps leases until the units before have come must not hold what those wait for.
      const std::lock_guard in_order(source_.leasing_);
      index = source_.take_unit(*this);
      if (index == source_.units_.size()) return false;
      unit.index = static_cast<int>(index);
      if (budget_) lease = budget_->acquire(source_.unit_bytes(source_.units_[index], unannounced_max_), stop_);
    }
    if (stop_.stop_requested()) return false;
    read_counted(source_.units_[index], unit);
    unit.lease = std::move(lease);
    unit.lease.raise_to(source_.held_bytes(unit.body_bytes, source_.units_[index].rows));
    return true;
  }

  void give_up() { stopping_.request_stop(); }

  size_t taken = 0;  // the unit it has taken last; the source's mutex guards it

 private:
  // No driver checks this: gosnowflake and ADBC take a chunk that ends cleanly one batch early for a whole one.
  void read_counted(const Unit& wanted, UnitData& unit) {
    const std::string name = source_.unit_name(wanted);
    for (int attempt = 1;; ++attempt) {
      unit = {.index = unit.index, .name = name, .first_row = wanted.first_row};
      std::string problem;
      const char* code = "snowflake.damaged_chunk";
      try {
        read(wanted, unit);
        if (unit.rows == wanted.rows) return;
        problem = fmt::format("{} has {} rows, the server's own count is {}", name, unit.rows, wanted.rows);
        code = "snowflake.short_chunk";
      } catch (const ChunkDamaged& error) {
        problem = fmt::format("{}: {}", name, error.message());
      }
      if (attempt == kCountAttempts) {
        throw VerificationError(
            code, problem + ", also at the second try",
            {.hint = "export the table again; if it stays so, report it to Snowflake with the query id", .query_id = query_id()});
      }
      log(LogLevel::warning, "{}; fetching it again", problem);
      if (wanted.chunk < 0) source_.refresh(source_.address(wanted.chunk).generation, stop_);
    }
  }

  void read(const Unit& wanted, UnitData& unit) {
    if (wanted.chunk < 0 && !source_.arrow_) {
      on_turn(unit, [&] { unit.text_rows = source_.inline_rows(); });
    } else {
      const std::shared_ptr<arrow::Buffer> body = wanted.chunk < 0 ? source_.inline_stream() : download(wanted.chunk, unit);
      unit.body_bytes = body->size();
      on_turn(unit, [&] {
        if (source_.arrow_)
          read_batches(body, unit);
        else
          unit.text_rows = read_json_rows(std::string_view(*body), {.rows = wanted.rows, .columns = source_.columns_});
      });
    }
    unit.rows = static_cast<int64_t>(unit.text_rows.size());
    for (const auto& batch : unit.batches) unit.rows += batch->num_rows();
  }

  // Of a chunk that was damaged in its first form, the turn is kept while it comes again: rare.
  void on_turn(UnitData& unit, const std::function<void()>& work) {
    if (!budget_ || !budget_->has_turns()) return work();
    if (!unit.turn) unit.turn = budget_->take_turn(stop_);
    if (!unit.turn) throw Interrupted("extract.stopped", "the export was stopped");
    unit.turn->run(work);
  }

  void read_batches(const std::shared_ptr<arrow::Buffer>& body, UnitData& unit) {
    if (body->size() == 0) return;  // an empty result may have no stream at all
    std::shared_ptr<arrow::Schema> schema;
    const auto batches = read_arrow_stream(body, &schema);
    source_.converter_->check_wire_schema(*schema);
    for (const auto& batch : batches) {
      for (auto& piece : source_.converter_->cut(batch)) unit.batches.push_back(std::move(piece));
    }
    unit.cut = unit.batches.size() > batches.size();
  }

  std::shared_ptr<arrow::Buffer> download(int chunk, UnitData& unit) {
    for (int refreshes = 0;; ++refreshes) {
      const Address address = source_.address(chunk);
      try {
        return downloader_.fetch(address.chunk, address.headers,
                                 [&](const std::function<void()>& inflate_body) { on_turn(unit, inflate_body); });
      } catch (const ChunkUrlExpired&) {
        if (refreshes == kRefreshesMax) throw;
        log(LogLevel::info, "a chunk's URL is not honoured any more; asking for fresh ones");
      }
      source_.refresh(address.generation, stop_);
    }
  }

  std::string query_id() const {
    const std::lock_guard lock(source_.mutex_);
    return source_.result_.query_id;
  }

  ResultSource& source_;
  std::shared_ptr<WorkBudget> budget_;
  std::stop_source stopping_;  // this feed alone …
  const std::stop_token stop_ = stopping_.get_token();
  const std::stop_callback<std::function<void()>> on_stop_;  // … also when all are stopped
  const int64_t unannounced_max_;
  ChunkDownloader downloader_;
};

ResultSource::ResultSource(std::shared_ptr<SourceSession> session, StatementResult result,
                           std::shared_ptr<const WireConverter> converter)
    : session_(std::move(session)),
      converter_(std::move(converter)),
      total_(result.total),
      arrow_(result.arrow),
      columns_(result.row_type.size()),
      result_(std::move(result)) {
  const int64_t inline_count = result_.inline_rows();
  // The inline batch is read too when it should be empty but is not: its rows would make the counts differ.
  if (inline_count > 0 || result_.chunks.empty() || !result_.first_batch.empty() || !result_.rows.empty()) {
    units_.push_back({.rows = inline_count});
  }
  int64_t first_row = inline_count;
  for (size_t i = 0; i < result_.chunks.size(); ++i) {
    units_.push_back({.chunk = static_cast<int>(i), .first_row = first_row, .rows = result_.chunks[i].rows});
    first_row += result_.chunks[i].rows;
  }
  units_end_ = units_.size();
}

size_t ResultSource::take_unit(Feed& feed) {
  const std::lock_guard lock(taking_);
  if (next_unit_ >= units_end_) return units_.size();
  feed.taken = next_unit_++;
  return feed.taken;
}

void ResultSource::drop_above(int unit) {
  const std::lock_guard lock(taking_);
  units_end_ = std::min(units_end_, static_cast<size_t>(unit) + 1);
  for (Feed* feed : feeds_) {
    if (feed->taken >= units_end_) feed->give_up();
  }
}

std::unique_ptr<UnitFeed> ResultSource::open_feed(const HttpOptions& http, const RetryPolicy& retries,
                                                  std::shared_ptr<WorkBudget> budget, std::stop_token stop) {
  return std::make_unique<Feed>(*this, http, retries, std::move(budget), std::move(stop));
}

std::string ResultSource::unit_name(const Unit& unit) const {
  if (unit.chunk < 0) return "the inline batch";
  const std::lock_guard lock(mutex_);
  return fmt::format("chunk {} of {}", unit.chunk + 1, result_.chunks.size());
}

int64_t ResultSource::unit_bytes(const Unit& unit, int64_t unannounced_max) const {
  const std::lock_guard lock(mutex_);
  if (unit.chunk < 0) return static_cast<int64_t>(2 * result_.first_batch.size());
  const ResultChunk& chunk = result_.chunks[static_cast<size_t>(unit.chunk)];
  const int64_t inflated = chunk.uncompressed_size > 0 ? chunk.uncompressed_size : inflated_bytes_max(0, unannounced_max);
  return saturating_add(chunk.compressed_size, held_bytes(inflated, unit.rows));
}

// The inflated form, and as much again for what it becomes (one column at a time in Arrow, a row group in Parquet). Rows of text
// are values of their own.
int64_t ResultSource::held_bytes(int64_t inflated, int64_t rows) const {
  const int64_t bytes = saturating_multiply(2, inflated);
  if (arrow_) return bytes;
  const auto row_bytes = static_cast<int64_t>(sizeof(Row) + columns_ * sizeof(Value));
  return saturating_add(bytes, saturating_multiply(rows, row_bytes));
}

ResultSource::Address ResultSource::address(int chunk) const {
  const std::lock_guard lock(mutex_);
  Address address{.chunk = {}, .headers = result_.chunk_headers, .generation = generation_};
  if (chunk >= 0) address.chunk = result_.chunks[static_cast<size_t>(chunk)];
  return address;
}

std::shared_ptr<arrow::Buffer> ResultSource::inline_stream() const {
  const std::lock_guard lock(mutex_);
  return arrow::Buffer::FromString(result_.first_batch);
}

std::vector<Row> ResultSource::inline_rows() const {
  const std::lock_guard lock(mutex_);
  return result_.rows;
}

void ResultSource::refresh(int64_t generation, const std::stop_token& stop) {
  // All URLs expire together: the first thread asks, the others wait for its answer.
  const std::lock_guard only_one(refreshing_);
  {
    const std::lock_guard lock(mutex_);
    if (generation_ != generation) return;
  }
  std::string query_id;
  {
    const std::lock_guard lock(mutex_);
    query_id = result_.query_id;
  }
  StatementResult fresh = session_->result(query_id, stop);
  const std::lock_guard lock(mutex_);
  check_same_result(result_, fresh);
  result_ = std::move(fresh);
  ++generation_;
}

std::unique_ptr<UnitFeed> open_cursor_feed(std::unique_ptr<Cursor> cursor) {
  return std::make_unique<CursorFeed>(std::move(cursor));
}

}  // namespace snowmelt
