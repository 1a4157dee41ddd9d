// Structured OBJECT, ARRAY and MAP as native Arrow: members come in raw wire form and are converted as columns are.
#include <arrow/api.h>

#include <algorithm>
#include <limits>
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

// The elements of these rows only: a batch that was cut shares them with the other pieces.
struct Elements {
  int64_t first = 0;
  int64_t count = 0;
};

Elements elements_of(const arrow::ListArray& lists) {
  if (lists.length() == 0) return {};
  return {lists.value_offset(0), lists.value_offset(lists.length()) - lists.value_offset(0)};
}

// The lists around other elements, which begin at elements_of().
ArrayPtr with_elements(const arrow::ListArray& lists, const std::shared_ptr<arrow::DataType>& type, const ArrayPtr& items) {
  std::shared_ptr<arrow::Buffer> offsets = allocate_values<int32_t>(lists.length() + 1);
  auto* out = reinterpret_cast<int32_t*>(offsets->mutable_data());
  out[0] = 0;
  for (int64_t i = 0; i < lists.length(); ++i) out[i + 1] = out[i] + lists.value_length(i);
  return arrow::MakeArray(arrow::ArrayData::Make(type, lists.length(), {copy_validity(lists), std::move(offsets)},
                                                 {items->data()}, lists.null_count()));
}

// Rows of a message are those of the list's elements then: the list's own is not known here.
ArrayPtr convert_list(const ColumnPlan& plan, const arrow::ListArray& lists, int64_t first_row) {
  const Elements elements = elements_of(lists);
  const ArrayPtr items = converted(child_plan(plan, 0, 1), lists.values()->Slice(elements.first, elements.count), first_row);
  return with_elements(lists, arrow::list(items->type()), items);
}

ArrayPtr convert_map(const ColumnPlan& plan, const arrow::MapArray& maps, int64_t first_row) {
  const Elements elements = elements_of(maps);
  const auto part = [&](const ArrayPtr& all) { return all->Slice(elements.first, elements.count); };
  const ArrayPtr keys = converted(child_plan(plan, 0, 2), part(maps.keys()), first_row);
  const ArrayPtr items = converted(child_plan(plan, 1, 2), part(maps.items()), first_row);
  const auto pairs = take(arrow::StructArray::Make({keys, items}, std::vector<std::string>{"key", "value"}));
  return with_elements(maps, arrow::map(keys->type(), items->type()), pairs);
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

constexpr size_t kValueBytesMax = 128 << 20;  // Snowflake's own for a value

// A number, a date, a time, an interval or a boolean as text, with its quotes.
constexpr int128_t kScalarBytesMax = 64;

int128_t name_bytes(const arrow::DataType& type) {
  int128_t bytes = 0;
  for (const auto& field : type.fields()) bytes += 6 * static_cast<int128_t>(field->name().size()) + 4;
  return bytes;
}

// `begin` counts from the array's own first value.
int128_t json_bytes(const arrow::ArrayData& data, int64_t begin, int64_t count) {
  if (count == 0) return 0;
  const auto extent = [&] {
    const auto* offsets = data.GetValues<int32_t>(1);
    return Elements{offsets[begin], offsets[begin + count] - offsets[begin]};
  };
  switch (data.type->id()) {
    case arrow::Type::STRING:
    case arrow::Type::BINARY: return 6 * static_cast<int128_t>(extent().count) + 4 * static_cast<int128_t>(count);
    case arrow::Type::STRUCT: {
      int128_t bytes = (name_bytes(*data.type) + 4) * count;
      for (const auto& member : data.child_data) bytes += json_bytes(*member, data.offset + begin, count);
      return bytes;
    }
    case arrow::Type::LIST:
    case arrow::Type::MAP: {
      const Elements elements = extent();
      return 4 * static_cast<int128_t>(count) + elements.count + json_bytes(*data.child_data[0], elements.first, elements.count);
    }
    case arrow::Type::FIXED_SIZE_LIST: {
      const int64_t size = static_cast<const arrow::FixedSizeListType&>(*data.type).list_size();
      return (4 + static_cast<int128_t>(size)) * count +
             json_bytes(*data.child_data[0], (data.offset + begin) * size, count * size);
    }
    default: return kScalarBytesMax * count;
  }
}

}  // namespace

int64_t json_bytes_max(const arrow::Array& wire, int64_t begin, int64_t count) {
  constexpr int128_t kMost = std::numeric_limits<int64_t>::max();
  return static_cast<int64_t>(std::min(json_bytes(*wire.data(), begin, count), kMost));
}

ArrayPtr convert_structured(const ColumnPlan& plan, const ArrayPtr& wire, int64_t first_row) {
  const ArrayPtr values = member(plan, wire, first_row);
  if (!json_knows(*values->type())) throw_wire_type(plan, *wire->type());
  return json_texts(*values, plan.name, first_row + 1, kValueBytesMax);
}

}  // namespace snowmelt
