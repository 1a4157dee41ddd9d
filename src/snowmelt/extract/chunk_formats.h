// What a chunk's body may be: gzip or plain; an Arrow IPC stream or rows of JSON. Nothing here trusts it.
#pragma once

#include <arrow/api.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "snowmelt/connections/base_connection.h"
#include "snowmelt/error.h"

namespace snowmelt {

// What came is not a whole chunk: cut short, or not what its container says.
class ChunkDamaged : public VerificationError {
 public:
  using VerificationError::VerificationError;
};

// The most of a chunk whose size the server did not say, where memory_limit is no lower.
inline constexpr int64_t kUnannouncedBytesMax = 256 << 20;

// How large a chunk may be that the server announced with so many bytes; 0: it did not say.
int64_t inflated_bytes_max(int64_t announced, int64_t unannounced_max = kUnannouncedBytesMax);

// Gzip (one or several members, told by its first bytes) or plain, which is kept without a copy. Throws ChunkDamaged, also for
// more than inflated_bytes_max().
std::shared_ptr<arrow::Buffer> inflate(std::string body, int64_t announced, int64_t unannounced_max = kUnannouncedBytesMax);
[[noreturn]] void throw_too_large(int64_t most, int64_t announced);

// The batches of an Arrow IPC stream, fully checked (wire_check.h); they point into `stream`. Batches without rows are left out.
// Throws ChunkDamaged, and ValueError for an Arrow type that results do not come in.
std::vector<std::shared_ptr<arrow::RecordBatch>> read_arrow_stream(const std::shared_ptr<arrow::Buffer>& stream,
                                                                   std::shared_ptr<arrow::Schema>* schema);

// What the server announced of a chunk; a body that has more ends where it does.
struct RowLimits {
  int64_t rows = 0;
  size_t columns = 0;
};

// Rows of a JSON chunk: arrays joined by commas, without the outer brackets. Throws ChunkDamaged.
std::vector<Row> read_json_rows(std::string_view body, RowLimits limits);

}  // namespace snowmelt
