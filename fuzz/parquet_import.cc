// A Parquet file of anybody: read, adapted, and encoded for COPY into the table that snowmelt would make for it.
#include <arrow/api.h>

#include "fuzz_target.h"
#include "snowmelt/load/batch_adapter.h"
#include "snowmelt/load/copy_encoder.h"
#include "snowmelt/load/type_map.h"
#include "snowmelt/storage/parquet_file.h"

namespace {

// What the server would say of the columns that were just made: the known target of the same type text.
std::vector<snowmelt::TargetColumn> as_made(const std::vector<snowmelt::NewColumn>& columns) {
  static const std::vector<snowmelt::TargetColumn> known = snowmelt::known_targets();
  std::vector<snowmelt::TargetColumn> made;
  for (const snowmelt::NewColumn& column : columns) {
    for (const snowmelt::TargetColumn& target : known) {
      const std::string word = column.type.substr(0, column.type.find('('));
      if (target.type != column.type && target.type.substr(0, target.type.find('(')) != word) continue;
      made.push_back(target);
      made.back().name = column.name;
      made.back().not_null = column.not_null;
      break;
    }
  }
  return made;
}

// A decimal of more digits than its type is refused by the target's numeric(p,s).
bool is_judged_by_the_server(const arrow::DataType& type) {
  if (arrow::is_decimal(type.id())) return true;
  return arrow::is_list_like(type.id()) && is_judged_by_the_server(*type.field(0)->type());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace snowmelt;
  const auto file = fuzz::scratch().write("input.parquet", fuzz::text_of(data, size));
  fuzz::expect_own_errors([&] {
    ParquetPartReader reader(file, std::nullopt, "");
    const BatchAdapter adapter(*reader.schema(), reader.source_columns(), {});
    const auto columns = plan_new_table(*adapter.schema(), adapter.source_columns(), IntegerMode::bigint);
    CopyEncoder encoder(map_columns(*adapter.schema(), adapter.source_columns(), as_made(columns), "t"));
    CopyBuffer out;
    int64_t row = 1;
    while (const auto batch = reader.next()) {
      if (!batch->Validate().ok()) std::abort();
      encoder.encode(*adapter.adapt(*batch, row), row, out);
      // Values beyond their type are the encoder's to refuse, which names column and row: what it took is valid in full.
      for (const auto& column : batch->columns()) {
        if (!is_judged_by_the_server(*column->type()) && !column->ValidateFull().ok()) std::abort();
      }
      row += batch->num_rows();
      out.clear();
    }
  });
  return 0;
}
