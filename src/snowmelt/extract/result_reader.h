// A result as one stream of Arrow batches in the server's order, downloaded by several threads ahead of the reader.
#pragma once

#include <arrow/api.h>

#include <cstdint>
#include <memory>
#include <stop_token>

#include "snowmelt/connections/source_session.h"
#include "snowmelt/extract/snowflake_types.h"

namespace snowmelt {

struct ResultReaderOptions {
  ColumnRules rules;
  int threads = 0;           // 0: as many as cores
  int64_t memory_limit = 0;  // bytes for what was downloaded and not read yet; 0: default_memory_limit()
};

class ResultReader : public arrow::RecordBatchReader {
 public:
  // nullptr at the end. Throws what stopped the download or the conversion; ReadNext() gives the same as a Status.
  virtual std::shared_ptr<arrow::RecordBatch> next() = 0;
  // Ends a waiting next() and the downloads; from any thread.
  virtual void stop() noexcept = 0;
};

// The schema is the Parquet files' (WireConverter). Threads start here; destroying the reader stops them.
std::shared_ptr<ResultReader> open_result_reader(std::shared_ptr<SourceSession> session, StatementResult result,
                                                 const ResultReaderOptions& options = {});

}  // namespace snowmelt
