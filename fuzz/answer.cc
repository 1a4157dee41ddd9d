// A statement's answer as the bridge hands it over: counts, row type, inline rows, chunks, headers; then the plan of its columns.
#include <nlohmann/json.hpp>

#include "fuzz_target.h"
#include "snowmelt/connections/bridge_result.h"
#include "snowmelt/extract/chunk_formats.h"
#include "snowmelt/extract/snowflake_types.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace snowmelt;
  // The bridge itself only passes on what Go's reader took for JSON.
  const auto answer = nlohmann::json::parse(fuzz::text_of(data, size), nullptr, /*allow_exceptions=*/false);
  if (answer.is_discarded()) return -1;
  fuzz::expect_own_errors([&] {
    const StatementResult result = parse_result(answer, "account", RowCheck::all_rows);
    if (result.inline_rows() < 0) std::abort();  // nobody looks at the counts again
    const WireConverter converter(result.row_type, {});
    if (!result.arrow) {
      converter.convert_rows(result.rows, 0);
      return;
    }
    std::shared_ptr<arrow::Schema> schema;
    if (result.first_batch.empty()) return;
    const auto batches = read_arrow_stream(arrow::Buffer::FromString(result.first_batch), &schema);
    converter.check_wire_schema(*schema);
    for (const auto& batch : batches) converter.convert(*batch, 0);
  });
  return 0;
}
