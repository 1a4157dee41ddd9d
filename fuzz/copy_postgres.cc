// The COPY encoder against PostgreSQL's own reader: what it encodes is taken, and comes back as the same bytes.
//
// The server is SNOWMELT_TEST_POSTGRES (tools/fuzz starts a private one). Types whose bytes the server writes in another form
// than it reads them (jsonb, which it normalises, and infinite numerics) only have to be taken.
#include <arrow/api.h>
#include <fuzzer/FuzzedDataProvider.h>
#include <libpq-fe.h>

#include <memory>
#include <string>
#include <vector>

#include "fuzz_target.h"
#include "snowmelt/load/copy_encoder.h"
#include "snowmelt/load/type_map.h"

namespace {

using namespace snowmelt;
using Provider = FuzzedDataProvider;

PGconn* server() {
  static PGconn* const connection = [] {
    const char* const uri = std::getenv("SNOWMELT_TEST_POSTGRES");
    PGconn* const opened = PQconnectdb(uri == nullptr ? "" : uri);
    if (PQstatus(opened) != CONNECTION_OK) {
      std::fprintf(stderr, "copy_postgres: %s", PQerrorMessage(opened));
      std::exit(1);
    }
    return opened;
  }();
  return connection;
}

[[noreturn]] void finding(const std::string& what) {
  std::fprintf(stderr, "finding: %s: %s\n", what.c_str(), PQerrorMessage(server()));
  std::abort();
}

void command(const std::string& sql) {
  PGresult* const result = PQexec(server(), sql.c_str());
  if (PQresultStatus(result) != PGRES_COMMAND_OK) finding(sql);
  PQclear(result);
}

void must(const arrow::Status& status) {
  if (!status.ok()) std::abort();
}

struct Type {
  std::shared_ptr<arrow::DataType> arrow;
  SourceType source;
};

const std::vector<Type>& types() {
  static const std::vector<Type> all{
      {arrow::boolean(), "BOOLEAN"},
      {arrow::int16(), "NUMBER(4,0)"},
      {arrow::int32(), "NUMBER(9,0)"},
      {arrow::int64(), "NUMBER(38,0)"},
      {arrow::float32(), ""},
      {arrow::float64(), "FLOAT"},
      {arrow::decimal128(38, 0), "NUMBER(38,0)"},
      {arrow::decimal128(38, 37), "NUMBER(38,37)"},
      {arrow::decimal128(12, 2), "NUMBER(12,2)"},
      {arrow::date32(), "DATE"},
      {arrow::time64(arrow::TimeUnit::MICRO), "TIME(6)"},
      {arrow::timestamp(arrow::TimeUnit::MICRO), "TIMESTAMP_NTZ(6)"},
      {arrow::timestamp(arrow::TimeUnit::MICRO, "UTC"), "TIMESTAMP_LTZ(6)"},
      {arrow::utf8(), "TEXT"},
      {arrow::utf8(), "VARIANT"},
      {arrow::utf8(), "UUID"},
      {arrow::utf8(), "DECFLOAT"},
      {arrow::utf8(), "INTERVAL_DAY_TIME"},
      {arrow::binary(), "BINARY"},
  };
  return all;
}

std::string text(Provider& input) {
  const std::string raw = input.ConsumeRandomLengthString(40);
  std::string ascii;  // UTF-8 by its shortest way: what is no UTF-8 is refused, and tests of its own show that
  for (const char c : raw) ascii += static_cast<char>(c & 0x7f);
  return ascii;
}

std::shared_ptr<arrow::Array> column(Provider& input, const Type& type, int64_t rows) {
  std::unique_ptr<arrow::ArrayBuilder> builder;
  must(arrow::MakeBuilder(arrow::default_memory_pool(), type.arrow, &builder));
  for (int64_t i = 0; i < rows; ++i) {
    if (input.ConsumeIntegralInRange(0, 7) == 0) {
      must(builder->AppendNull());
      continue;
    }
    switch (type.arrow->id()) {
      case arrow::Type::BOOL: must(static_cast<arrow::BooleanBuilder&>(*builder).Append(input.ConsumeBool())); break;
      case arrow::Type::INT16: must(static_cast<arrow::Int16Builder&>(*builder).Append(input.ConsumeIntegral<int16_t>())); break;
      case arrow::Type::INT32: must(static_cast<arrow::Int32Builder&>(*builder).Append(input.ConsumeIntegral<int32_t>())); break;
      case arrow::Type::DATE32:
        must(static_cast<arrow::Date32Builder&>(*builder).Append(input.ConsumeIntegral<int32_t>()));
        break;
      case arrow::Type::INT64: must(static_cast<arrow::Int64Builder&>(*builder).Append(input.ConsumeIntegral<int64_t>())); break;
      case arrow::Type::TIME64:
        must(static_cast<arrow::Time64Builder&>(*builder).Append(input.ConsumeIntegral<int64_t>()));
        break;
      case arrow::Type::TIMESTAMP:
        must(static_cast<arrow::TimestampBuilder&>(*builder).Append(input.ConsumeIntegral<int64_t>()));
        break;
      case arrow::Type::FLOAT:
        must(static_cast<arrow::FloatBuilder&>(*builder).Append(input.ConsumeFloatingPoint<float>()));
        break;
      case arrow::Type::DOUBLE:
        must(static_cast<arrow::DoubleBuilder&>(*builder).Append(input.ConsumeFloatingPoint<double>()));
        break;
      case arrow::Type::DECIMAL128: {
        const arrow::Decimal128 value(input.ConsumeIntegral<int64_t>(), input.ConsumeIntegral<uint64_t>());
        const int32_t precision = static_cast<const arrow::Decimal128Type&>(*type.arrow).precision();
        // Not FitsInPrecision(): the smallest 128-bit number has no positive, and passes it.
        const arrow::Decimal128 most = arrow::Decimal128::GetMaxValue(precision);
        const bool fits = value <= most && value >= -most;
        must(static_cast<arrow::Decimal128Builder&>(*builder).Append(fits ? value : arrow::Decimal128(7)));
        break;
      }
      case arrow::Type::BINARY:
        must(static_cast<arrow::BinaryBuilder&>(*builder).Append(input.ConsumeRandomLengthString(40)));
        break;
      default: must(static_cast<arrow::StringBuilder&>(*builder).Append(text(input)));
    }
  }
  return builder->Finish().ValueOrDie();
}

bool holds_infinity(const arrow::Array& texts) {
  const auto& strings = static_cast<const arrow::StringArray&>(texts);
  for (int64_t i = 0; i < strings.length(); ++i) {
    if (!strings.IsNull(i) && strings.GetView(i).find("nf") != std::string_view::npos) return true;
  }
  return false;
}

std::vector<TargetColumn> as_made(const std::vector<NewColumn>& columns) {
  std::vector<TargetColumn> made;
  for (const NewColumn& column : columns) {
    PGresult* const result =
        PQexec(server(), ("select atttypid, atttypmod, typname from pg_attribute join pg_type on pg_type.oid = atttypid "
                          "where attrelid = 'pg_temp.t'::regclass and attname = '" +
                          column.name + "'")
                             .c_str());
    if (PQresultStatus(result) != PGRES_TUPLES_OK || PQntuples(result) != 1) finding("the new table's column");
    made.push_back({.name = column.name,
                    .type = column.type,
                    .type_oid = static_cast<uint32_t>(std::stoul(PQgetvalue(result, 0, 0))),
                    .typmod = std::stoi(PQgetvalue(result, 0, 1)),
                    .base_name = PQgetvalue(result, 0, 2)});
    PQclear(result);
  }
  return made;
}

std::string copied_out() {
  PGresult* const begun = PQexec(server(), "copy pg_temp.t to stdout (format binary)");
  if (PQresultStatus(begun) != PGRES_COPY_OUT) finding("copy to stdout");
  PQclear(begun);
  std::string bytes;
  char* piece = nullptr;
  for (int n = PQgetCopyData(server(), &piece, 0); n > 0; n = PQgetCopyData(server(), &piece, 0)) {
    bytes.append(piece, static_cast<size_t>(n));
    PQfreemem(piece);
  }
  while (PGresult* const result = PQgetResult(server())) PQclear(result);
  return bytes;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Provider input(data, size);
  const int64_t rows = input.ConsumeIntegralInRange<int64_t>(1, 4);
  const int count = input.ConsumeIntegralInRange(1, 4);
  arrow::FieldVector fields;
  std::vector<std::shared_ptr<arrow::Array>> arrays;
  std::vector<SourceColumn> source;
  bool same_bytes = true;
  for (int i = 0; i < count; ++i) {
    const Type& type = types()[input.ConsumeIntegralInRange<size_t>(0, types().size() - 1)];
    same_bytes = same_bytes && !type.source.is(SourceWord::variant);
    fields.push_back(arrow::field("c" + std::to_string(i), type.arrow));
    arrays.push_back(column(input, type, rows));
    // The server writes 32 as the scale of an infinite numeric, and does not look at it when it reads one.
    same_bytes = same_bytes && !(type.source.is(SourceWord::decfloat) && holds_infinity(*arrays.back()));
    source.push_back({fields.back()->name(), type.source, true});
  }
  const auto schema = arrow::schema(fields);
  const auto batch = arrow::RecordBatch::Make(schema, rows, arrays);
  std::string bytes;
  std::string ddl;
  bool encoded = false;
  fuzz::expect_own_errors([&] {
    const auto columns = plan_new_table(*schema, source, IntegerMode::bigint);
    for (const NewColumn& made : columns) ddl += (ddl.empty() ? "" : ", ") + made.name + " " + made.type;
    command("set client_min_messages = error; drop table if exists pg_temp.t; create temporary table t (" + ddl + ")");
    CopyEncoder encoder(map_columns(*schema, source, as_made(columns), "t"));
    CopyBuffer out;
    out.append(CopyEncoder::header());
    encoder.encode(*batch, 1, out);
    out.append(CopyEncoder::trailer());
    bytes.assign(out.bytes().data(), out.size());
    encoded = true;
  });
  if (!encoded) return 0;
  PGresult* const begun = PQexec(server(), "copy pg_temp.t from stdin (format binary)");
  if (PQresultStatus(begun) != PGRES_COPY_IN) finding("copy from stdin");
  PQclear(begun);
  if (PQputCopyData(server(), bytes.data(), static_cast<int>(bytes.size())) != 1 || PQputCopyEnd(server(), nullptr) != 1)
    finding("sending");
  PGresult* const ended = PQgetResult(server());
  const bool taken = PQresultStatus(ended) == PGRES_COMMAND_OK;
  const char* const state = PQresultErrorField(ended, PG_DIAG_SQLSTATE);
  // JSON's syntax is the server's to judge (22P02, 22P05 for \u0000, 54001 for depth); nothing else may be refused.
  const std::string refusal = state == nullptr ? "" : state;
  if (!taken && (same_bytes || (refusal != "22P02" && refusal != "22P05" && refusal != "22021" && refusal != "54001")))
    finding("the server refuses (" + ddl + "): " + PQresultErrorMessage(ended));
  PQclear(ended);
  while (PGresult* const rest = PQgetResult(server())) PQclear(rest);
  if (taken && same_bytes && copied_out() != bytes) finding("other bytes come back for (" + ddl + ")");
  return 0;
}
