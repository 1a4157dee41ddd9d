#include "snowmelt/load/part_feed.h"

#include <algorithm>
#include <utility>

#include "snowmelt/machine_limits.h"

namespace snowmelt {
namespace {

// A piece is opened anew (its footer is parsed), which takes some tens of microseconds.
constexpr int64_t kPieceRowsMin = 64 << 10;

}  // namespace

std::unique_ptr<ParquetPartReader> open_part(const PartSource::Part& part, const LoadOptions& options) {
  // A policy looks at each value, and few other loads have one. The connections of a load share the memory.
  const PartReaderOptions reading{.memory_limit = (options.memory_limit > 0 ? options.memory_limit : default_memory_limit()) /
                                                  std::max(options.connections, 1),
                                  .dictionaries = !changes_values(options)};
  return part.opened ? std::make_unique<ParquetPartReader>(part.opened, options.password, part.salt, reading)
                     : std::make_unique<ParquetPartReader>(part.file, options.password, part.salt, reading);
}

// A key is derived from its password at each opening, which takes a tenth of a second: encrypted files stay whole.
PartFeed::PartFeed(PartSource& parts, const LoadOptions& options, PartSource::Part first,
                   std::unique_ptr<ParquetPartReader> opened, bool shared)
    : parts_(parts),
      options_(options),
      shared_(shared && !options.password),
      part_(std::move(first)),
      opened_(std::move(opened)) {
  cut();
}

// The opened part's pieces.
void PartFeed::cut() {
  const std::vector<int64_t> groups = opened_->row_group_rows();
  Piece piece{.first_row = rows_ + 1};
  int64_t rows = 0;
  for (int group = 0; group < static_cast<int>(groups.size()); ++group) {
    rows += groups[static_cast<size_t>(group)];
    if (!shared_ || rows < kPieceRowsMin) continue;
    piece.end = group + 1;
    pieces_.push_back(piece);
    piece = {.begin = piece.end, .end = piece.end, .first_row = piece.first_row + rows};
    rows = 0;
  }
  piece.end = static_cast<int>(groups.size());
  if (rows > 0 || pieces_.empty()) pieces_.push_back(piece);
  rows_ += opened_->rows();
}

bool PartFeed::take_part() {
  try {
    part_ = parts_.next();
    ended_ = !part_ || dropped();
    if (ended_) return false;
    opened_ = open_part(*part_, options_);
  } catch (...) {
    ended_ = true;  // for the other encoders too
    throw;
  }
  cut();
  return true;
}

void PartFeed::drop_from(int64_t first_row) {
  int64_t end = end_row_;
  while (first_row < end && !end_row_.compare_exchange_weak(end, first_row)) {
  }
  parts_.stop_waiting();  // whoever waits for the next part holds up the error
}

std::optional<PartFeed::Item> PartFeed::next() {
  std::lock_guard lock(mutex_);
  if (dropped() || ended_) return std::nullopt;
  if (pieces_.empty() && !take_part()) return std::nullopt;
  const Piece piece = pieces_.front();
  pieces_.pop_front();
  Item item{.reader = opened_ ? std::move(opened_) : open_part(*part_, options_),
            .file = part_->file.string(),
            .first_row = piece.first_row};
  item.reader->select_row_groups(piece.begin, piece.end);
  return item;
}

}  // namespace snowmelt
