// The files of one table on their way to one or several encoders.
#pragma once

#include <atomic>
#include <deque>
#include <functional>
#include <limits>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "snowmelt/load/batch_adapter.h"
#include "snowmelt/load/postgresql_data_loader.h"
#include "snowmelt/storage/parquet_file.h"

namespace snowmelt {

// How the batches of a file become COPY rows. Files of one export share a plan; other writers' files may differ in types.
struct FilePlan {
  BatchAdapter adapter;
  std::vector<EncoderColumn> columns;  // in the order of the COPY statement
};
using FilePlanner = std::function<std::shared_ptr<const FilePlan>(const ParquetPartReader& reader, const std::string& file)>;

// Safe for several threads. Rows are numbered through the whole table, whoever encodes them.
class PartFeed {
 public:
  // With several takers (`shared`) a file is given out in pieces of some row groups, so that all of them end at the same time:
  // with whole files, two connections had five and four of lineitem's nine, and one of them idled for half a second of four.
  // `first` is opened already, for its schema.
  PartFeed(PartSource& parts, const LoadOptions& options, PartSource::Part first, std::unique_ptr<ParquetPartReader> opened,
           bool shared);

  struct Item {
    std::unique_ptr<ParquetPartReader> reader;
    std::string file;
    int64_t first_row = 1;
  };
  // nullopt at the end, and once something has failed. May wait for the next part; throws what stopped its producer.
  std::optional<Item> next();

  // One of several encoders has failed at the item with this first row. Nothing further is given out. Items below are worth
  // finishing, since a lower row may be an offender too; kEverything ends them as well.
  void drop_from(int64_t first_row);
  static constexpr int64_t kEverything = 0;
  // What the producer threw lies behind all rows given out.
  static constexpr int64_t kProducer = std::numeric_limits<int64_t>::max() - 1;
  bool dropped() const { return end_row_ != kNoEnd; }
  bool wanted(int64_t first_row) const { return first_row < end_row_; }

 private:
  static constexpr int64_t kNoEnd = std::numeric_limits<int64_t>::max();
  struct Piece {
    int begin = 0;  // row groups [begin, end)
    int end = 0;
    int64_t first_row = 1;
  };
  void cut();
  bool take_part();

  PartSource& parts_;
  const LoadOptions& options_;
  const bool shared_;
  std::mutex mutex_;
  std::optional<PartSource::Part> part_;       // whose pieces are given out
  std::unique_ptr<ParquetPartReader> opened_;  // the part's reader, until its first piece takes it
  std::deque<Piece> pieces_;
  bool ended_ = false;
  int64_t rows_ = 0;
  std::atomic<int64_t> end_row_{kNoEnd};
};

// As the loader reads every part.
std::unique_ptr<ParquetPartReader> open_part(const PartSource::Part& part, const LoadOptions& options);

}  // namespace snowmelt
