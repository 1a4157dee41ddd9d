#include "snowmelt/extract/chunk_formats.h"

#include <arrow/io/memory.h>
#include <arrow/ipc/reader.h>
#include <fmt/format.h>
#include <libdeflate.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "snowmelt/extract/wire_arrays.h"
#include "snowmelt/extract/wire_check.h"

namespace snowmelt {
namespace {

constexpr int64_t kInflatedBytesMax = int64_t{4} << 30;
// Twice what was announced, and what any chunk may have: nobody promises that the server's number is exact.
constexpr int64_t kSmallBytesMax = 8 << 20;
// A stream is read without a copy; this is for what the reader itself may need.
constexpr int64_t kReaderBytesMax = 16 << 20;
constexpr size_t kGzipFrameBytes = 18;  // header and trailer without content

struct DecompressorDelete {
  void operator()(libdeflate_decompressor* decompressor) const noexcept { libdeflate_free_decompressor(decompressor); }
};

[[noreturn]] void throw_damaged(std::string message) { throw ChunkDamaged("chunk.damaged", std::move(message)); }

bool is_gzip(std::string_view body) { return body.size() >= 2 && body[0] == '\x1f' && body[1] == '\x8b'; }

// The last four bytes of gzip: the size of the last member, modulo 2^32.
int64_t gzip_size(std::string_view body) {
  int64_t size = 0;
  for (size_t i = 0; i < 4; ++i) size = size << 8 | static_cast<unsigned char>(body[body.size() - 1 - i]);
  return size;
}

// Feeds a JSON document's values to rows: [[text or null, …], …]. Nothing else may stand in it.
class RowHandler : public nlohmann::json_sax<nlohmann::json> {
 public:
  RowHandler(std::vector<Row>& rows, RowLimits limits) : rows_(rows), limits_(limits) {}

  bool null() override { return add(std::nullopt); }
  bool boolean(bool value) override { return add(value ? "true" : "false"); }
  bool number_integer(number_integer_t value) override { return add(std::to_string(value)); }
  bool number_unsigned(number_unsigned_t value) override { return add(std::to_string(value)); }
  bool number_float(number_float_t, const string_t& text) override { return add(text); }
  bool string(string_t& value) override { return add(std::move(value)); }
  bool binary(binary_t&) override { return false; }
  bool start_object(size_t) override { return false; }
  bool end_object() override { return false; }
  bool key(string_t&) override { return false; }
  bool start_array(size_t) override {
    if (++depth_ > 2) return false;
    if (depth_ == 2) {
      if (static_cast<int64_t>(rows_.size()) == limits_.rows) return false;
      rows_.emplace_back();
    }
    return true;
  }
  bool end_array() override { return --depth_ != 1 || rows_.back().size() == limits_.columns; }
  bool parse_error(size_t, const std::string&, const nlohmann::json::exception&) override { return false; }

 private:
  bool add(Value value) {
    if (depth_ != 2 || rows_.back().size() == limits_.columns) return false;
    rows_.back().emplace_back(std::move(value));
    return true;
  }

  std::vector<Row>& rows_;
  const RowLimits limits_;
  int depth_ = 0;
};

}  // namespace

int64_t inflated_bytes_max(int64_t announced, int64_t unannounced_max) {
  if (announced <= 0) return std::clamp(unannounced_max, kSmallBytesMax, kUnannouncedBytesMax);
  return announced > (kInflatedBytesMax - kSmallBytesMax) / 2 ? kInflatedBytesMax : 2 * announced + kSmallBytesMax;
}

void throw_too_large(int64_t most, int64_t announced) {
  throw ChunkDamaged("chunk.too_large",
                     announced > 0
                         ? fmt::format("more than {} bytes came where {} were announced", most, announced)
                         : fmt::format("more than {} bytes came and no size was announced, which memory_limit bounds", most));
}

std::shared_ptr<arrow::Buffer> inflate(std::string body, int64_t announced, int64_t unannounced_max) {
  const int64_t most = inflated_bytes_max(announced, unannounced_max);
  if (!is_gzip(body)) {
    if (static_cast<int64_t>(body.size()) > most) throw_too_large(most, announced);
    return arrow::Buffer::FromString(std::move(body));
  }
  if (body.size() < kGzipFrameBytes) throw_damaged("the chunk is cut short");
  // One call for the whole chunk when the size is right, which it is for all but several members. The trailer's word counts no
  // more than the server's: deflate never shrinks more than 1032-fold.
  int64_t capacity = std::max({gzip_size(body), announced, int64_t{1}});
  capacity = std::min({capacity, static_cast<int64_t>(body.size()) * 1'032, most});
  std::unique_ptr<arrow::ResizableBuffer> out = take(arrow::AllocateResizableBuffer(capacity));
  const std::unique_ptr<libdeflate_decompressor, DecompressorDelete> decompressor(libdeflate_alloc_decompressor());

  size_t consumed = 0;
  int64_t produced = 0;
  while (consumed < body.size()) {
    size_t in = 0;
    size_t made = 0;
    const libdeflate_result result =
        libdeflate_gzip_decompress_ex(decompressor.get(), body.data() + consumed, body.size() - consumed,
                                      out->mutable_data() + produced, static_cast<size_t>(out->size() - produced), &in, &made);
    if (result == LIBDEFLATE_INSUFFICIENT_SPACE) {
      if (out->size() == most) throw_too_large(most, announced);
      take(out->Resize(std::min(out->size() * 2, most), /*shrink_to_fit=*/false));
      continue;
    }
    if (result != LIBDEFLATE_SUCCESS) throw_damaged("the chunk's gzip stream is damaged or cut short");
    consumed += in;
    produced += static_cast<int64_t>(made);
  }
  take(out->Resize(produced, /*shrink_to_fit=*/false));
  return out;
}

std::vector<std::shared_ptr<arrow::RecordBatch>> read_arrow_stream(const std::shared_ptr<arrow::Buffer>& stream,
                                                                   std::shared_ptr<arrow::Schema>* schema) {
  arrow::ProxyMemoryPool counted(arrow::default_memory_pool());
  arrow::CappedMemoryPool pool(&counted, kReaderBytesMax);
  arrow::ipc::IpcReadOptions options = arrow::ipc::IpcReadOptions::Defaults();
  options.use_threads = false;
  options.memory_pool = &pool;
  const auto check = [](const arrow::Status& status) {
    if (!status.ok()) throw_damaged("the chunk is not a whole Arrow stream: " + status.message());
  };

  auto opened = arrow::ipc::RecordBatchStreamReader::Open(std::make_shared<arrow::io::BufferReader>(stream), options);
  check(opened.status());
  check_wire_types(*(*opened)->schema());
  *schema = (*opened)->schema();
  std::vector<std::shared_ptr<arrow::RecordBatch>> batches;
  for (;;) {
    std::shared_ptr<arrow::RecordBatch> batch;
    check((*opened)->ReadNext(&batch));
    if (!batch) return batches;
    batch = checked_batch(batch, *stream);
    if (batch->num_rows() > 0) batches.push_back(std::move(batch));
  }
}

std::vector<Row> read_json_rows(std::string_view body, RowLimits limits) {
  std::string document;
  document.reserve(body.size() + 2);
  document.append("[").append(body).append("]");
  std::vector<Row> rows;
  RowHandler handler(rows, limits);
  if (!nlohmann::json::sax_parse(document, &handler)) throw_damaged("the chunk is not rows of JSON");
  return rows;
}

}  // namespace snowmelt
