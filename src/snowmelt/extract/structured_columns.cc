// Structured OBJECT, ARRAY and MAP as native Arrow: members come in raw wire form and are converted as columns are.
#include <arrow/api.h>

#include <utility>

#include "snowmelt/extract/column_plan.h"
#include "snowmelt/extract/wire_arrays.h"
#include "snowmelt/storage/json_text.h"

namespace snowmelt {
namespace {

ArrayPtr member(const ColumnPlan& plan, const ArrayPtr& wire, int64_t first_row);

// The plan of the i-th member; a session that sends structs but no fields in the row type leaves them as they are.
const ColumnPlan* child_plan(const ColumnPlan& plan, size_t i, size_t count) {
  return plan.children.size() == count ? &plan.children[i] : nullptr;
}

ArrayPtr converted(const ColumnPlan* plan, const ArrayPtr& wire, int64_t first_row) {
  return plan == nullptr ? wire : member(*plan, wire, first_row);
}

ArrayPtr convert_struct(const ColumnPlan& plan, const arrow::StructArray& rows, int64_t first_row) {
  arrow::ArrayVector arrays;
  std::vector<std::string> names;
  const auto count = static_cast<size_t>(rows.num_fields());
  for (int i = 0; i < rows.num_fields(); ++i) {
    const ArrayPtr field = take(rows.GetFlattenedField(i));  // NULL where the struct is
    arrays.push_back(converted(child_plan(plan, static_cast<size_t>(i), count), field, first_row));
    names.push_back(rows.struct_type()->field(i)->name());
  }
  if (arrays.empty()) {  // Make() takes the length from a member
    return std::make_shared<arrow::StructArray>(arrow::struct_({}), rows.length(), arrays, copy_validity(rows),
                                                rows.null_count());
  }
  return take(arrow::StructArray::Make(arrays, names, copy_validity(rows), rows.null_count()));
}

// Rows of a message are those of the list's elements then: the list's own is not known here.
ArrayPtr convert_list(const ColumnPlan& plan, const arrow::ListArray& lists, int64_t first_row) {
  const ArrayPtr items = converted(child_plan(plan, 0, 1), lists.values(), first_row);
  auto data = lists.data()->Copy();
  data->type = arrow::list(items->type());
  data->child_data[0] = items->data();
  return arrow::MakeArray(std::move(data));
}

ArrayPtr convert_map(const ColumnPlan& plan, const arrow::MapArray& maps, int64_t first_row) {
  const ArrayPtr keys = converted(child_plan(plan, 0, 2), maps.keys(), first_row);
  const ArrayPtr items = converted(child_plan(plan, 1, 2), maps.items(), first_row);
  const auto pairs = take(arrow::StructArray::Make({keys, items}, std::vector<std::string>{"key", "value"}));
  auto data = maps.data()->Copy();
  data->type = arrow::map(keys->type(), items->type());
  data->child_data[0] = pairs->data();
  return arrow::MakeArray(std::move(data));
}

ArrayPtr member(const ColumnPlan& plan, const ArrayPtr& wire, int64_t first_row) {
  switch (wire->type_id()) {
    case arrow::Type::STRUCT:
      if (plan.kind != ColumnKind::text) break;  // a timestamp of two or three parts
      return convert_struct(plan, static_cast<const arrow::StructArray&>(*wire), first_row);
    case arrow::Type::LIST: return convert_list(plan, static_cast<const arrow::ListArray&>(*wire), first_row);
    case arrow::Type::MAP: return convert_map(plan, static_cast<const arrow::MapArray&>(*wire), first_row);
    default: break;
  }
  if (wire->type_id() == arrow::Type::STRING && plan.kind == ColumnKind::text) return wire;  // the JSON's writer checks it
  ArrayPtr values = convert_by_kind(plan, wire, first_row);
  // JSON has no bytes: hexadecimal, as Snowflake's own TO_JSON writes them.
  return values->type_id() == arrow::Type::BINARY ? hex_texts(static_cast<const arrow::BinaryArray&>(*values)) : values;
}

}  // namespace

ArrayPtr convert_structured(const ColumnPlan& plan, const ArrayPtr& wire, int64_t first_row) {
  const ArrayPtr values = member(plan, wire, first_row);
  if (!json_knows(*values->type())) throw_wire_type(plan, *wire->type());
  return json_texts(*values, plan.name, first_row + 1);
}

}  // namespace snowmelt
