// For tests: every file has one column N, which goes into a bigint NOT NULL.
#pragma once

#include <memory>
#include <utility>

#include "snowmelt/load/part_feed.h"
#include "snowmelt/load/type_map.h"

namespace snowmelt {

inline std::shared_ptr<const FilePlan> plan_of_one_bigint(const ParquetPartReader& reader) {
  TargetColumn target;
  target.name = "n";
  target.type = "bigint";
  target.type_oid = 20;
  target.not_null = true;
  BatchAdapter adapter(*reader.schema(), reader.source_columns(), {});
  auto columns = map_columns(*adapter.schema(), adapter.source_columns(), {target}, "t");
  return std::make_shared<const FilePlan>(FilePlan{std::move(adapter), std::move(columns)});
}

}  // namespace snowmelt
