// The border for Arrow data from the wire: what passes here may be read without another look at its lengths and offsets.
#pragma once

#include <arrow/api.h>

#include <memory>

namespace snowmelt {

// Throws ValueError naming the column for an Arrow type that results are not known to come in: dictionaries, run ends, views,
// unions, extensions, at any depth. Throws ChunkDamaged for a name that is not UTF-8.
void check_wire_types(const arrow::Schema& schema);

// The batch, with its buffers aligned. Throws ChunkDamaged where a length, an offset, a null count or a decimal is wrong, or
// where the batch claims more than the bytes of `stream` that it came in, and ValueError where its buffers are compressed. UTF-8
// is not looked at: the converters do so for the columns that are kept, and name the row.
std::shared_ptr<arrow::RecordBatch> checked_batch(const std::shared_ptr<arrow::RecordBatch>& batch, const arrow::Buffer& stream);

}  // namespace snowmelt
