// The engine behind Extraction: threads that take units end to end, and the publication of what they made. More threads download
// than work at the same time (the budget's turns); an open part goes from one of those to the next.
#pragma once

#include <condition_variable>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "snowmelt/extract/result_source.h"
#include "snowmelt/extract/snowflake_data_extractor.h"
#include "snowmelt/lowest_failure.h"
#include "snowmelt/storage/directory_lock.h"
#include "snowmelt/storage/parquet_file.h"

namespace snowmelt {

// Everything that is decided before the first byte.
struct ExtractionJob {
  std::string table;  // for messages
  std::filesystem::path directory;
  std::shared_ptr<DirectoryLock> lock;  // a loader of the same run shares it
  Manifest manifest;                    // all but rows, bytes and parts
  std::shared_ptr<const WireConverter> converter;
  std::shared_ptr<ResultSource> source;   // null for a cursor that only knows rows …
  std::unique_ptr<UnitFeed> cursor_feed;  // … which has this instead
  HttpOptions http;
  PartWriterOptions writer;
  int64_t part_size = 32 << 20;
  int downloads = 1;
  std::shared_ptr<WorkBudget> budget;  // shared with other tables
  std::shared_ptr<TableProgress> progress;
  std::function<TableMetadata(const std::stop_token&)> read_metadata;  // beside the workers; may be absent
  std::stop_token stop;
};

struct Extraction::Impl {
  explicit Impl(ExtractionJob job);
  ~Impl();
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  std::optional<PartInfo> next();

  ExtractionJob job;
  bool published = false;

 private:
  class Worker;
  struct OpenPart;

  void start();
  std::unique_ptr<OpenPart> take_part();
  void put_back(std::unique_ptr<OpenPart> part);
  void close(std::unique_ptr<OpenPart> part);
  void close_spare_parts();
  void report(OpenPart& part, int64_t rows, int64_t part_bytes);
  // `place`: the unit that failed, or LowestFailure::kNowhere.
  void fail(std::exception_ptr error, int64_t place);
  bool will_publish();
  void worker_ended();
  void check_total() const;
  void publish();
  // What has come of the metadata; what has not is not waited for.
  void end_metadata();
  // Stops the threads and removes what this export made.
  void abandon() noexcept;

  std::stop_source stopping_;
  std::mutex mutex_;  // of what follows
  std::condition_variable changed_;
  std::deque<PartInfo> ready_;
  std::vector<PartInfo> parts_;
  TableMetadata metadata_;
  LowestFailure failure_;
  int running_ = 0;
  int taking_ = 0;  // workers that may still need a part
  int parts_opened_ = 0;
  int parts_open_ = 0;
  std::vector<std::unique_ptr<OpenPart>> idle_parts_;  // open, and in nobody's hands
  bool metadata_read_ = false;
  std::stop_source metadata_stop_;
  std::vector<std::jthread> threads_;
  std::jthread metadata_thread_;
  std::optional<std::stop_callback<std::function<void()>>> on_user_stop_;
};

}  // namespace snowmelt
