// What a value costs, by type: nanoseconds from Arrow to COPY bytes. bench/encoder.py puts pgpq beside it.
#include <benchmark/benchmark.h>

#include <cstdlib>
#include <random>

#include "snowmelt/load/batch_adapter.h"
#include "snowmelt/load/copy_encoder.h"
#include "snowmelt/load/type_map.h"
#include "snowmelt/storage/parquet_file.h"

namespace snowmelt {
namespace {

constexpr int64_t kRows = 64 * 1024;

using Fill = std::function<arrow::Status(arrow::ArrayBuilder&, uint64_t)>;

template <typename Builder, typename Make>
Fill fill(Make make) {
  return [make](arrow::ArrayBuilder& builder, uint64_t random) { return static_cast<Builder&>(builder).Append(make(random)); };
}

struct Case {
  const char* name;  // as bench/encoder.py knows it
  std::shared_ptr<arrow::DataType> type;
  const char* postgres;
  Fill append;
};

std::string text_of(uint64_t random, size_t length) { return std::string(length, static_cast<char>('a' + random % 26)); }

const std::vector<Case>& cases() {
  using namespace arrow;
  static const std::vector<Case> all{
      {"int16", int16(), "smallint", fill<Int16Builder>([](uint64_t r) { return static_cast<int16_t>(r); })},
      {"int32", int32(), "integer", fill<Int32Builder>([](uint64_t r) { return static_cast<int32_t>(r); })},
      {"int64", int64(), "bigint", fill<Int64Builder>([](uint64_t r) { return static_cast<int64_t>(r); })},
      {"double", float64(), "double precision", fill<DoubleBuilder>([](uint64_t r) { return static_cast<double>(r); })},
      {"bool", boolean(), "boolean", fill<BooleanBuilder>([](uint64_t r) { return r % 2 == 0; })},
      {"date", date32(), "date", fill<Date32Builder>([](uint64_t r) { return static_cast<int32_t>(r % 20'000); })},
      {"time", time64(TimeUnit::MICRO), "time",
       fill<Time64Builder>([](uint64_t r) { return static_cast<int64_t>(r % 86'400'000'000); })},
      {"timestamp", timestamp(TimeUnit::MICRO), "timestamp",
       fill<TimestampBuilder>([](uint64_t r) { return static_cast<int64_t>(r % 1'700'000'000'000'000); })},
      {"decimal64(12,2)", decimal64(12, 2), "numeric",
       fill<Decimal64Builder>([](uint64_t r) { return Decimal64(static_cast<int64_t>(r % 10'000'000)); })},
      {"decimal64(18,6)", decimal64(18, 6), "numeric",
       fill<Decimal64Builder>([](uint64_t r) { return Decimal64(static_cast<int64_t>(r % 1'000'000'000'000'000'000)); })},
      {"decimal128(38,10)", decimal128(38, 10), "numeric",
       fill<Decimal128Builder>([](uint64_t r) { return Decimal128(static_cast<int64_t>(r >> 40), r); })},
      {"text of 8", utf8(), "text", fill<StringBuilder>([](uint64_t r) { return text_of(r, 8); })},
      {"text of 100", utf8(), "text", fill<StringBuilder>([](uint64_t r) { return text_of(r, 100); })},
      {"binary of 32", binary(), "bytea", fill<BinaryBuilder>([](uint64_t r) { return text_of(r, 32); })},
      {"uuid", fixed_size_binary(16), "uuid", fill<FixedSizeBinaryBuilder>([](uint64_t r) { return text_of(r, 16); })},
      {"jsonb of 20", utf8(), "jsonb", fill<StringBuilder>([](uint64_t r) { return "{\"a\": \"" + text_of(r, 10) + "\"}"; })},
  };
  return all;
}

std::shared_ptr<arrow::RecordBatch> batch_of(const Case& c, bool nulls) {
  std::unique_ptr<arrow::ArrayBuilder> builder;
  if (!arrow::MakeBuilder(arrow::default_memory_pool(), c.type, &builder).ok()) std::abort();
  std::mt19937_64 random(1);
  for (int64_t i = 0; i < kRows; ++i) {
    const uint64_t value = random();
    if (!(nulls && value % 10 == 0 ? builder->AppendNull() : c.append(*builder, value)).ok()) std::abort();
  }
  const auto array = builder->Finish().ValueOrDie();
  return arrow::RecordBatch::Make(arrow::schema({arrow::field("c", c.type)}), kRows, {array});
}

void encode_type(benchmark::State& state, const Case& c, bool nulls) {
  const auto batch = batch_of(c, nulls);
  TargetColumn target;
  for (TargetColumn& known : known_targets()) {
    if (known.type == c.postgres) target = known;
  }
  CopyEncoder encoder(map_columns(*batch->schema(), {}, {target}, "t"));
  CopyBuffer buffer;
  for (auto _ : state) {
    buffer.clear();
    encoder.encode(*batch, 1, buffer);
    benchmark::DoNotOptimize(buffer.bytes().data());
  }
  state.counters["ns_per_value"] = benchmark::Counter(static_cast<double>(state.iterations() * kRows) / 1e9,
                                                      benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
}

// A whole file as it is loaded, decoded beforehand: SNOWMELT_BENCH_FILE.
void encode_file(benchmark::State& state, const std::string& file) {
  ParquetPartReader reader(file, std::nullopt, "");
  const BatchAdapter adapter(*reader.schema(), reader.source_columns(), {});
  std::vector<TargetColumn> targets;
  for (const NewColumn& column : plan_new_table(*adapter.schema(), adapter.source_columns(), IntegerMode::bigint)) {
    for (TargetColumn known : known_targets()) {
      if (!column.type.starts_with(known.type) || column.type.starts_with("timestamp with")) continue;
      known.name = column.name;
      targets.push_back(known);
      break;
    }
  }
  CopyEncoder encoder(map_columns(*adapter.schema(), adapter.source_columns(), targets, "t"));
  std::vector<std::shared_ptr<arrow::RecordBatch>> batches;
  while (auto batch = reader.next()) batches.push_back(adapter.adapt(*batch, 1));
  CopyBuffer buffer;
  for (auto _ : state) {
    for (const auto& batch : batches) {
      buffer.clear();
      encoder.encode(*batch, 1, buffer);
    }
  }
  state.counters["rows"] = static_cast<double>(reader.rows());
}

}  // namespace
}  // namespace snowmelt

int main(int argc, char** argv) {
  using namespace snowmelt;
  for (const Case& c : cases()) {
    benchmark::RegisterBenchmark(c.name, [&c](benchmark::State& state) { encode_type(state, c, false); });
    benchmark::RegisterBenchmark((std::string(c.name) + ", 10 % NULL").c_str(),
                                 [&c](benchmark::State& state) { encode_type(state, c, true); });
  }
  if (const char* file = std::getenv("SNOWMELT_BENCH_FILE")) {
    benchmark::RegisterBenchmark("file", [file](benchmark::State& state) { encode_file(state, file); })->Unit(benchmark::kSecond);
  }
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
