#include "snowmelt/extract/wire_check.h"

#include <arrow/util/align_util.h>
#include <fmt/format.h>

#include <string>
#include <utility>
#include <vector>

#include "snowmelt/error.h"
#include "snowmelt/extract/chunk_formats.h"
#include "snowmelt/extract/wire_arrays.h"
#include "snowmelt/storage/utf8.h"

namespace snowmelt {
namespace {

[[noreturn]] void throw_damaged(const std::string& what) {
  throw ChunkDamaged("chunk.damaged", "the chunk's Arrow data is damaged: " + what);
}

bool is_wire_type(const arrow::DataType& type) {
  switch (type.id()) {
    case arrow::Type::BOOL:
    case arrow::Type::INT8:
    case arrow::Type::INT16:
    case arrow::Type::INT32:
    case arrow::Type::INT64:
    case arrow::Type::FLOAT:
    case arrow::Type::DOUBLE:
    case arrow::Type::DECIMAL128:
    case arrow::Type::DATE32:
    case arrow::Type::STRING:
    case arrow::Type::BINARY: return true;
    case arrow::Type::STRUCT:
    case arrow::Type::LIST:
    case arrow::Type::MAP:
    case arrow::Type::FIXED_SIZE_LIST: break;
    default: return false;
  }
  for (const auto& field : type.fields()) {
    if (!is_wire_type(*field->type())) return false;
  }
  return true;
}

// What a batch refers to. Each byte of a stream belongs to one buffer, and each value takes a bit at least: a batch that breaks
// either would make a small chunk into any amount of rows or text.
class Extent {
 public:
  explicit Extent(const arrow::Buffer& stream) : stream_(stream) {}

  void add(arrow::ArrayData& data) {
    if (data.length > 8 * stream_.size()) throw_damaged("an array claims more values than the chunk has bits");
    for (auto& buffer : data.buffers) {
      if (buffer == nullptr) continue;
      if (buffer->size() == 0) {
        buffer = empty_;  // what Arrow makes for it belongs to the reader's memory pool
        continue;
      }
      if (buffer->data() < stream_.data() || buffer->data() + buffer->size() > stream_.data() + stream_.size()) {
        throw ValueError("snowflake.unexpected_wire_type",
                         "the result arrived with compressed Arrow buffers, which it is not known to do",
                         {.hint = "report this with the query id"});
      }
      bytes_ += buffer->size();
      if (bytes_ > stream_.size()) throw_damaged("buffers overlap");
    }
    for (const auto& child : data.child_data) add(*child);
  }

 private:
  static constexpr int64_t kNoOffset = 0;  // behind an empty buffer, for who reads the first offset of no values
  static inline const auto empty_ = std::make_shared<arrow::Buffer>(reinterpret_cast<const uint8_t*>(&kNoOffset), 0);
  const arrow::Buffer& stream_;
  int64_t bytes_ = 0;
};

// Text as bytes, at any depth; the very type where there is none.
std::shared_ptr<arrow::DataType> without_text(const std::shared_ptr<arrow::DataType>& type) {
  const auto child = [&](int i) { return type->field(i)->WithType(without_text(type->field(i)->type())); };
  switch (type->id()) {
    case arrow::Type::STRING: return arrow::binary();
    case arrow::Type::LIST: return arrow::list(child(0));
    case arrow::Type::FIXED_SIZE_LIST:
      return arrow::fixed_size_list(child(0), static_cast<const arrow::FixedSizeListType&>(*type).list_size());
    case arrow::Type::MAP: {
      const auto entries = child(0);
      return arrow::map(entries->type()->field(0)->type(), entries->type()->field(1));
    }
    case arrow::Type::STRUCT: {
      arrow::FieldVector fields;
      for (int i = 0; i < type->num_fields(); ++i) fields.push_back(child(i));
      return arrow::struct_(std::move(fields));
    }
    default: return type;
  }
}

std::shared_ptr<arrow::ArrayData> as_type(const arrow::ArrayData& data, const std::shared_ptr<arrow::DataType>& type) {
  auto copy = data.Copy();
  copy->type = type;
  for (size_t i = 0; i < copy->child_data.size(); ++i)
    copy->child_data[i] = as_type(*copy->child_data[i], type->field(static_cast<int>(i))->type());
  return copy;
}

arrow::Status validate(const arrow::RecordBatch& batch) {
  arrow::FieldVector fields;
  std::vector<std::shared_ptr<arrow::ArrayData>> columns;
  for (int i = 0; i < batch.num_columns(); ++i) {
    const auto type = without_text(batch.schema()->field(i)->type());
    fields.push_back(batch.schema()->field(i)->WithType(type));
    columns.push_back(as_type(*batch.column_data(i), type));
  }
  return arrow::RecordBatch::Make(arrow::schema(std::move(fields)), batch.num_rows(), std::move(columns))->ValidateFull();
}

}  // namespace

void check_wire_types(const arrow::Schema& schema) {
  for (const auto& field : schema.fields()) {
    // Names, those of members included, are repeated in messages and in JSON.
    const std::string text = field->ToString();
    if (!is_utf8(reinterpret_cast<const uint8_t*>(text.data()), static_cast<int64_t>(text.size())))
      throw_damaged("a column's name or type is not UTF-8");
    if (is_wire_type(*field->type())) continue;
    throw ValueError(
        "snowflake.unexpected_wire_type",
        fmt::format("the column arrived as Arrow {}, which results are not known to do", field->type()->ToString()),
        {.where = "column " + field->name(), .hint = "cast the column in a query, and report this with the type's name"});
  }
}

std::shared_ptr<arrow::RecordBatch> checked_batch(const std::shared_ptr<arrow::RecordBatch>& batch, const arrow::Buffer& stream) {
  Extent extent(stream);
  std::vector<std::shared_ptr<arrow::ArrayData>> columns;
  for (const auto& column : batch->column_data()) {
    extent.add(*column);
    // A loop that the compiler makes vectors of takes an address as its type says.
    columns.push_back(take(arrow::util::EnsureAlignment(column, arrow::util::kValueAlignment, arrow::default_memory_pool())));
  }
  auto checked = arrow::RecordBatch::Make(batch->schema(), batch->num_rows(), std::move(columns));
  const arrow::Status valid = validate(*checked);
  if (!valid.ok()) throw_damaged(valid.message());
  return checked;
}

}  // namespace snowmelt
