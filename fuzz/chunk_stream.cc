// A chunk's body: inflated, read, validated, converted and written as Parquet. The first eight bytes choose the row type.
#include <arrow/api.h>

#include <memory>

#include "fuzz_target.h"
#include "snowmelt/extract/chunk_formats.h"
#include "snowmelt/extract/snowflake_types.h"
#include "snowmelt/storage/parquet_file.h"
#include "wire_types.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace snowmelt;
  constexpr size_t kChoices = 8;
  if (size < kChoices) return -1;
  fuzz::expect_own_errors([&] {
    const std::string body(fuzz::text_of(data + kChoices, size - kChoices));
    std::shared_ptr<arrow::Schema> schema;
    const auto batches = read_arrow_stream(inflate(body, static_cast<int64_t>(4 * body.size())), &schema);
    std::vector<SnowflakeColumn> row_type;
    for (int i = 0; i < schema->num_fields(); ++i)
      row_type.push_back(fuzz::column_for(schema->field(i)->name(), *schema->field(i)->type(), data[i % kChoices]));
    const WireConverter converter(row_type, {.integers = data[0] % 2 == 0 ? IntegerMode::bigint : IntegerMode::numeric,
                                             .on_subsecond = static_cast<SubsecondMode>(data[1] % 4),
                                             .tz_offset = data[2] % 2 == 0,
                                             .on_out_of_range = static_cast<RangeMode>(data[3] % 2)});
    converter.check_wire_schema(*schema);
    std::vector<std::shared_ptr<arrow::RecordBatch>> converted;
    for (const auto& batch : batches) {
      converted.push_back(converter.convert(*batch, 0));
      if (!converted.back()->ValidateFull().ok()) std::abort();  // UTF-8 is checked by the converters, all else before them
      // A batch may be converted in pieces (WireConverter::cut), which are the same rows.
      const int64_t half = batch->num_rows() / 2;
      const auto piece = converter.convert(*batch->Slice(half), half);
      if (!piece->Equals(*converted.back()->Slice(half), false, arrow::EqualOptions::Defaults().nans_equal(true))) std::abort();
    }
    ParquetPartWriter writer(fuzz::scratch().path(), "part-fuzz-00000.parquet", converter.schema(), converter.columns(), {});
    if (!converted.empty()) writer.write_row_group(converted);
    writer.finish();
  });
  return 0;
}
