// A statement's result as units of work (the inline batch, then the chunks), each given out whole or not at all.
#pragma once

#include <arrow/api.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <stop_token>
#include <string>
#include <vector>

#include "snowmelt/connections/source_session.h"
#include "snowmelt/extract/result_chunks.h"
#include "snowmelt/extract/snowflake_types.h"
#include "snowmelt/extract/work_budget.h"

namespace snowmelt {

// Rows of one unit, in the wire's form: Arrow batches, or rows of text.
struct UnitData {
  int index = 0;          // of the result's units
  std::string name = {};  // "chunk 7 of 61"
  int64_t first_row = 0;  // in the result, 0-based
  int64_t rows = 0;
  std::vector<std::shared_ptr<arrow::RecordBatch>> batches = {};
  bool cut = false;  // some batch is a piece of what came: to be converted on its own
  std::vector<Row> text_rows = {};
  int64_t body_bytes = 0;        // of the inflated chunk
  WorkBudget::Lease lease = {};  // of the memory above
  WorkBudget::Turn turn = {};    // to work on it
};

// Gives units to one thread until there are none. What next() throws is of the unit that unit.index then names.
class UnitFeed {
 public:
  virtual ~UnitFeed() = default;
  virtual bool next(UnitData& unit) = 0;
};

// Shared by the threads of one result.
class ResultSource {
 public:
  // `session` is asked for fresh URLs when those of the result have expired.
  ResultSource(std::shared_ptr<SourceSession> session, StatementResult result, std::shared_ptr<const WireConverter> converter);

  int64_t total() const { return total_; }
  // The inline batch counts when it has rows, or when there is nothing else.
  int units() const { return static_cast<int>(units_.size()); }

  // A feed for one thread; feeds take units from one another's common list, and room for them in that order: it may be kept until
  // the units before have been done with.
  std::unique_ptr<UnitFeed> open_feed(const HttpOptions& http, const RetryPolicy& retries, std::shared_ptr<WorkBudget> budget,
                                      std::stop_token stop);

  // Units above this one are not begun any more, and those on their way are given up. Those below are with their feeds already.
  void drop_above(int unit);

 private:
  class Feed;
  struct Unit {
    int chunk = -1;  // -1: the inline rows
    int64_t first_row = 0;
    int64_t rows = 0;
  };
  // What a thread needs to fetch a chunk, from one and the same answer of the server.
  struct Address {
    ResultChunk chunk;
    std::map<std::string, std::string> headers;
    int64_t generation = 0;
  };

  // The next unit's index, now this feed's; units() when there is none for it.
  size_t take_unit(Feed& feed);
  std::string unit_name(const Unit& unit) const;
  // Memory that a unit is to take as the server announced it, and that it takes with so many bytes inflated.
  int64_t unit_bytes(const Unit& unit, int64_t unannounced_max) const;
  int64_t held_bytes(int64_t inflated, int64_t rows) const;
  Address address(int chunk) const;
  std::shared_ptr<arrow::Buffer> inline_stream() const;
  std::vector<Row> inline_rows() const;
  // Asks the server for the result again unless another thread has done so since `generation`.
  void refresh(int64_t generation, const std::stop_token& stop);

  const std::shared_ptr<SourceSession> session_;
  std::shared_ptr<const WireConverter> converter_;
  int64_t total_ = 0;
  bool arrow_ = true;
  size_t columns_ = 0;  // of the row type
  std::vector<Unit> units_;
  std::mutex leasing_;  // units get their leases in their order
  std::mutex taking_;   // of the next three
  size_t next_unit_ = 0;
  size_t units_end_ = 0;  // lower than their number once some were dropped
  std::set<Feed*> feeds_;
  mutable std::mutex mutex_;  // of what follows
  StatementResult result_;
  int64_t generation_ = 0;
  std::mutex refreshing_;
};

// Rows of a cursor that gives nothing else (a mock), in units of some ten thousand.
std::unique_ptr<UnitFeed> open_cursor_feed(std::unique_ptr<Cursor> cursor);

}  // namespace snowmelt
