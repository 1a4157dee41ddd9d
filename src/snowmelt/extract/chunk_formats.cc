// What a chunk's body may be: gzip or plain; an Arrow IPC stream or rows of JSON.
#include <arrow/io/memory.h>
#include <arrow/ipc/reader.h>
#include <libdeflate.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "snowmelt/extract/result_chunks.h"
#include "snowmelt/extract/wire_arrays.h"

namespace snowmelt {
namespace {

constexpr int64_t kInflatedBytesMax = int64_t{4} << 30;
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
  explicit RowHandler(std::vector<Row>& rows) : rows_(rows) {}

  bool null() override {
    if (depth_ != 2) return false;
    rows_.back().emplace_back();
    return true;
  }
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
    if (++depth_ == 2) rows_.emplace_back();
    return depth_ <= 2;
  }
  bool end_array() override {
    --depth_;
    return true;
  }
  bool parse_error(size_t, const std::string&, const nlohmann::json::exception&) override { return false; }

 private:
  bool add(std::string value) {
    if (depth_ != 2) return false;
    rows_.back().emplace_back(std::move(value));
    return true;
  }

  std::vector<Row>& rows_;
  int depth_ = 0;
};

}  // namespace

std::shared_ptr<arrow::Buffer> inflate(std::string body, int64_t size_hint) {
  if (!is_gzip(body)) return arrow::Buffer::FromString(std::move(body));
  if (body.size() < kGzipFrameBytes) throw_damaged("the chunk is cut short");
  // One call for the whole chunk when the size is right, which it is for all but several members.
  int64_t capacity = std::max({gzip_size(body), size_hint, int64_t{1}});
  // Deflate never shrinks more than 1032-fold: a trailer that claims more must not make us allocate it.
  capacity = std::min(capacity, std::max<int64_t>(static_cast<int64_t>(body.size()) * 1'032, 1));
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
    if (result == LIBDEFLATE_INSUFFICIENT_SPACE && out->size() < kInflatedBytesMax) {
      take(out->Resize(std::min(out->size() * 2, kInflatedBytesMax), /*shrink_to_fit=*/false));
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
  arrow::ipc::IpcReadOptions options = arrow::ipc::IpcReadOptions::Defaults();
  options.use_threads = false;
  const auto damaged = [](const arrow::Status& status) {
    throw_damaged("the chunk is not a whole Arrow stream: " + status.message());
  };

  auto opened = arrow::ipc::RecordBatchStreamReader::Open(std::make_shared<arrow::io::BufferReader>(stream), options);
  if (!opened.ok()) damaged(opened.status());
  *schema = (*opened)->schema();
  std::vector<std::shared_ptr<arrow::RecordBatch>> batches;
  for (;;) {
    std::shared_ptr<arrow::RecordBatch> batch;
    const arrow::Status status = (*opened)->ReadNext(&batch);
    if (!status.ok()) damaged(status);
    if (!batch) return batches;
    // Lengths and offsets against the buffers: a wrong stream must not make us read outside of it.
    const arrow::Status valid = batch->Validate();
    if (!valid.ok()) damaged(valid);
    batches.push_back(std::move(batch));
  }
}

std::vector<Row> read_json_rows(std::string_view body) {
  std::string document;
  document.reserve(body.size() + 2);
  document.append("[").append(body).append("]");
  std::vector<Row> rows;
  RowHandler handler(rows);
  if (!nlohmann::json::sax_parse(document, &handler)) throw_damaged("the chunk is not rows of JSON");
  return rows;
}

}  // namespace snowmelt
