// The files of one table on their way to one or several encoders.
#pragma once

#include <atomic>
#include <functional>
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
  // `first` is opened already, for its schema.
  PartFeed(PartSource& parts, const LoadOptions& options, std::unique_ptr<ParquetPartReader> first, std::string first_file);

  struct Item {
    std::unique_ptr<ParquetPartReader> reader;
    std::string file;
    int64_t first_row = 1;
  };
  // nullopt at the end, and once stop() was called. May wait for the next part; throws what stopped its producer.
  std::optional<Item> next();
  // No further file is given out: one of several encoders has failed.
  void stop() { stopped_ = true; }

 private:
  Item numbered(std::unique_ptr<ParquetPartReader> reader, std::string file);

  PartSource& parts_;
  const LoadOptions& options_;
  std::mutex mutex_;
  std::unique_ptr<ParquetPartReader> first_;
  std::string first_file_;
  int64_t rows_ = 0;
  bool ended_ = false;
  std::atomic<bool> stopped_{false};
};

}  // namespace snowmelt
