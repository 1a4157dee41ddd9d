#include "snowmelt/load/part_feed.h"

#include <utility>

namespace snowmelt {

PartFeed::PartFeed(PartSource& parts, const LoadOptions& options, std::unique_ptr<ParquetPartReader> first,
                   std::string first_file)
    : parts_(parts), options_(options), first_(std::move(first)), first_file_(std::move(first_file)) {}

PartFeed::Item PartFeed::numbered(std::unique_ptr<ParquetPartReader> reader, std::string file) {
  const int64_t first_row = rows_ + 1;
  rows_ += reader->rows();
  return {std::move(reader), std::move(file), first_row};
}

std::optional<PartFeed::Item> PartFeed::next() {
  std::lock_guard lock(mutex_);
  if (stopped_ || ended_) return std::nullopt;
  if (first_) return numbered(std::move(first_), std::move(first_file_));
  const auto part = parts_.next();
  if (!part) {
    ended_ = true;
    return std::nullopt;
  }
  return numbered(std::make_unique<ParquetPartReader>(part->file, options_.password, part->salt), part->file.string());
}

}  // namespace snowmelt
