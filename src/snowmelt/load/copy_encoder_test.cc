#include "snowmelt/load/copy_encoder.h"

#include <arrow/util/decimal.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>

#include "snowmelt/error.h"
#include "snowmelt/load/type_map.h"

namespace snowmelt {
namespace {

std::shared_ptr<arrow::DataType> arrow_type(const std::string& name) {
  static const std::map<std::string, std::shared_ptr<arrow::DataType>> types{
      {"int16", arrow::int16()},
      {"int32", arrow::int32()},
      {"int64", arrow::int64()},
      {"uint64", arrow::uint64()},
      {"float", arrow::float32()},
      {"double", arrow::float64()},
      {"bool", arrow::boolean()},
      {"date32", arrow::date32()},
      {"utf8", arrow::utf8()},
      {"decfloat", arrow::utf8()},
      {"binary", arrow::binary()},
      {"time64[us]", arrow::time64(arrow::TimeUnit::MICRO)},
      {"time64[ns]", arrow::time64(arrow::TimeUnit::NANO)},
      {"timestamp[s]", arrow::timestamp(arrow::TimeUnit::SECOND)},
      {"timestamp[ms]", arrow::timestamp(arrow::TimeUnit::MILLI)},
      {"timestamp[us]", arrow::timestamp(arrow::TimeUnit::MICRO)},
      {"timestamp[ns]", arrow::timestamp(arrow::TimeUnit::NANO)},
      {"timestamp[us, UTC]", arrow::timestamp(arrow::TimeUnit::MICRO, "UTC")}};
  if (const auto found = types.find(name); found != types.end()) return found->second;
  int precision = 0, scale = 0;
  EXPECT_EQ(std::sscanf(name.c_str(), "decimal(%d,%d)", &precision, &scale), 2) << name;
  return arrow::smallest_decimal(precision, scale);
}

TargetColumn target_type(const std::string& name) {
  static const std::map<std::string, uint32_t> oids{
      {"smallint", 21}, {"integer", 23},   {"bigint", 20},      {"real", 700},         {"double precision", 701},
      {"boolean", 16},  {"date", 1082},    {"timestamp", 1114}, {"timestamptz", 1184}, {"time", 1083},
      {"text", 25},     {"varchar", 1043}, {"bytea", 17},       {"json", 114},         {"jsonb", 3802},
      {"uuid", 2950},   {"numeric", 1700}, {"interval", 1186},  {"timetz", 1266}};
  TargetColumn column{.name = "c", .type = name};
  int precision = 0, scale = 0;
  if (std::sscanf(name.c_str(), "numeric(%d,%d)", &precision, &scale) == 2) column.typmod = ((precision << 16) | scale) + 4;
  if (std::sscanf(name.c_str(), "varchar(%d)", &precision) == 1) column.typmod = precision + 4;
  column.type_oid = oids.at(name.substr(0, name.find('(')));
  return column;
}

std::shared_ptr<arrow::Array> one_value(const std::shared_ptr<arrow::DataType>& type, const std::string& text) {
  if (text == "NULL") return arrow::MakeArrayOfNull(type, 1).ValueOrDie();
  std::shared_ptr<arrow::Scalar> scalar;
  if (arrow::is_decimal(type->id())) {
    const auto value = arrow::Decimal128::FromString(text).ValueOrDie();
    scalar = std::make_shared<arrow::Decimal128Scalar>(
        value, arrow::decimal128(38, static_cast<const arrow::DecimalType&>(*type).scale()));
    // The narrow carriers hold the same integer.
    const auto low = static_cast<int64_t>(value.low_bits());
    if (type->id() == arrow::Type::DECIMAL32)
      scalar = std::make_shared<arrow::Decimal32Scalar>(arrow::Decimal32(low), type);
    else if (type->id() == arrow::Type::DECIMAL64)
      scalar = std::make_shared<arrow::Decimal64Scalar>(arrow::Decimal64(low), type);
    else
      scalar = std::make_shared<arrow::Decimal128Scalar>(value, type);
  } else if (type->id() == arrow::Type::TIMESTAMP && !static_cast<const arrow::TimestampType&>(*type).timezone().empty()) {
    scalar = arrow::Scalar::Parse(arrow::timestamp(arrow::TimeUnit::MICRO), text).ValueOrDie();
    scalar = std::make_shared<arrow::TimestampScalar>(static_cast<const arrow::TimestampScalar&>(*scalar).value, type);
  } else {
    scalar = arrow::Scalar::Parse(type, text).ValueOrDie();
  }
  return arrow::MakeArrayFromScalar(*scalar, 1).ValueOrDie();
}

std::string hex(std::span<const char> bytes) {
  std::string out;
  char digits[3];
  for (const char byte : bytes) {
    std::snprintf(digits, sizeof digits, "%02x", static_cast<unsigned char>(byte));
    out += digits;
  }
  return out;
}

std::vector<EncoderColumn> encoder_for(const std::shared_ptr<arrow::Schema>& schema, std::vector<TargetColumn> target,
                                       SourceType source_type = {}) {
  std::vector<SourceColumn> source;
  for (const auto& field : schema->fields()) source.push_back({field->name(), source_type, true});
  return map_columns(*schema, source, target, "t");
}

std::string encode(const std::vector<EncoderColumn>& columns, const std::shared_ptr<arrow::RecordBatch>& batch) {
  CopyBuffer buffer;
  CopyEncoder(columns).encode(*batch, 1, buffer);
  return hex(buffer.bytes());
}

std::string encode_one(const std::shared_ptr<arrow::Array>& array, const TargetColumn& target, SourceType source_type = {}) {
  const auto schema = arrow::schema({arrow::field("c", array->type())});
  return encode(encoder_for(schema, {target}, source_type), arrow::RecordBatch::Make(schema, array->length(), {array}));
}

TEST(CopyEncoder, WritesWhatPostgresWrites) {
  std::ifstream goldens(std::filesystem::read_symlink("/proc/self/exe").parent_path() / "copy_goldens.txt");
  std::string line;
  int cases = 0;
  while (std::getline(goldens, line)) {
    std::istringstream fields(line);
    std::string postgres, arrow_name, value, expected;
    std::getline(fields, postgres, '\t');
    std::getline(fields, arrow_name, '\t');
    std::getline(fields, value, '\t');
    std::getline(fields, expected, '\t');
    SCOPED_TRACE(line);
    const auto array = one_value(arrow_type(arrow_name), value);
    EXPECT_EQ(encode_one(array, target_type(postgres), arrow_name == "decfloat" ? SourceType("DECFLOAT") : SourceType()),
              "0001" + expected);
    ++cases;
  }
  EXPECT_GT(cases, 300);
}

// The same rows once in one block, once in many, with nulls among them and starting inside an array.
TEST(CopyEncoder, BlocksSlicesAndNullsGiveTheSameRows) {
  arrow::Int64Builder numbers;
  arrow::StringBuilder texts;
  for (int i = 0; i < 5000; ++i) {
    ASSERT_TRUE((i % 7 == 0 ? numbers.AppendNull() : numbers.Append(i * 1'000'003LL)).ok());
    ASSERT_TRUE((i % 5 == 0 ? texts.AppendNull() : texts.Append(std::string(static_cast<size_t>(i % 50), 'x'))).ok());
  }
  const auto schema =
      arrow::schema({arrow::field("n", arrow::int64()), arrow::field("d", arrow::int64()), arrow::field("t", arrow::utf8())});
  const auto n = numbers.Finish().ValueOrDie();
  const auto batch = arrow::RecordBatch::Make(schema, 5000, {n, n, texts.Finish().ValueOrDie()});
  const auto columns =
      encoder_for(schema, {{.name = "n", .type_oid = 20}, {.name = "d", .type_oid = 1700}, {.name = "t", .type_oid = 25}});
  const std::string whole = encode(columns, batch);
  std::string pieces;
  for (int64_t at = 0; at < 5000; at += 617) pieces += encode(columns, batch->Slice(at, 617));
  EXPECT_EQ(whole, pieces);
}

TEST(CopyEncoder, ListsBecomeArrays) {
  arrow::ListBuilder lists(arrow::default_memory_pool(), std::make_shared<arrow::Int32Builder>());
  auto& values = static_cast<arrow::Int32Builder&>(*lists.value_builder());
  ASSERT_TRUE(lists.Append().ok() && values.Append(1).ok() && values.AppendNull().ok());
  ASSERT_TRUE(lists.AppendNull().ok() && lists.AppendEmptyValue().ok());
  const TargetColumn target{.name = "c", .type = "integer[]", .type_oid = 1007, .element_oid = 23};
  EXPECT_EQ(encode_one(lists.Finish().ValueOrDie(), target),
            "000100000020"
            "00000001"
            "00000001"
            "00000017"
            "00000002"
            "00000001"
            "00000004"
            "00000001"
            "ffffffff"
            "0001ffffffff"
            "00010000000c"
            "00000000"
            "00000000"
            "00000017");
}

struct Refusal {
  const char* name;
  std::shared_ptr<arrow::Array> array;  // the second row is the bad one
  TargetColumn target;
  const char* code;
};

template <typename Builder, typename... Values>
std::shared_ptr<arrow::Array> array_of(Builder builder, Values... values) {
  EXPECT_TRUE((builder.Append(values).ok() && ...));
  return builder.Finish().ValueOrDie();
}

TEST(CopyEncoder, ValuesThatCannotBeKeptNameColumnAndRow) {
  using arrow::TimeUnit;
  const auto pool = arrow::default_memory_pool();
  const auto decimals = [&](int scale, int64_t a, int64_t b) {
    return array_of(arrow::Decimal128Builder(arrow::decimal128(38, scale)), arrow::Decimal128(a), arrow::Decimal128(b));
  };
  const std::vector<Refusal> cases{
      {"int8 into smallint", array_of(arrow::Int64Builder(), 1, 32768), target_type("smallint"), "copy.out_of_range"},
      {"below integer", array_of(arrow::Int64Builder(), 1, -2147483649), target_type("integer"), "copy.out_of_range"},
      {"uint64 into bigint", array_of(arrow::UInt64Builder(), 1, 1ULL << 63), target_type("bigint"), "copy.out_of_range"},
      {"decimal into bigint",
       array_of(arrow::Decimal128Builder(arrow::decimal128(38, 0)), arrow::Decimal128(1), arrow::Decimal128(1, 0)),
       target_type("bigint"), "copy.out_of_range"},
      {"precision", decimals(2, 99999, 100000), target_type("numeric(5,2)"), "copy.out_of_range"},
      {"scale", decimals(4, 12300, 12345), target_type("numeric(10,2)"), "copy.not_exact"},
      {"scale inside a group", decimals(6, 123450, 123456), target_type("numeric(10,5)"), "copy.not_exact"},
      {"fraction into scale 0", decimals(1, 10, 11), target_type("numeric(10,0)"), "copy.not_exact"},
      {"2^53 + 1 as a double", array_of(arrow::Int64Builder(), 1LL << 53, (1LL << 53) + 1), target_type("double precision"),
       "copy.not_exact"},
      {"0.1 as real", array_of(arrow::DoubleBuilder(), 0.5, 0.1), target_type("real"), "copy.not_exact"},
      {"nanoseconds", array_of(arrow::TimestampBuilder(arrow::timestamp(TimeUnit::NANO), pool), 1000, 1001),
       target_type("timestamp"), "copy.subsecond_digits"},
      {"timestamp(3)",
       array_of(arrow::TimestampBuilder(arrow::timestamp(TimeUnit::MICRO), pool), 1000, 1001),
       {.name = "c", .type = "timestamp(3)", .type_oid = 1114, .typmod = 3},
       "copy.not_exact"},
      {"seconds beyond 64 bits", array_of(arrow::TimestampBuilder(arrow::timestamp(TimeUnit::SECOND), pool), 0, INT64_MAX / 2),
       target_type("timestamp"), "copy.out_of_range"},
      {"before 4714 BC", array_of(arrow::TimestampBuilder(arrow::timestamp(TimeUnit::MICRO), pool), 0, INT64_MIN),
       target_type("timestamp"), "copy.out_of_range"},
      {"25 hours", array_of(arrow::Time64Builder(arrow::time64(TimeUnit::MICRO), pool), 86'400'000'000, 86'400'000'001),
       target_type("time"), "copy.out_of_range"},
      {"date", array_of(arrow::Date32Builder(), 0, INT32_MAX), target_type("date"), "copy.out_of_range"},
      {"NUL", array_of(arrow::StringBuilder(), "a", std::string("b\0", 2)), target_type("text"), "copy.nul_in_text"},
      {"UTF-8", array_of(arrow::StringBuilder(), "a", "\xff"), target_type("text"), "copy.invalid_utf8"},
      {"a character in two halves", array_of(arrow::StringBuilder(), "", "\xc3", "\xa4"), target_type("text"),
       "copy.invalid_utf8"},
      {"varchar", array_of(arrow::StringBuilder(), "äöü", "äöü "), target_type("varchar(3)"), "copy.text_too_long"},
      {"uuid", array_of(arrow::StringBuilder(), "a0eebc999c0b4ef8bb6d6bb9bd380a11", "a0eebc999c0b4ef8bb6d6bb9bd380a1"),
       target_type("uuid"), "copy.not_a_uuid"},
  };
  for (const Refusal& refusal : cases) {
    SCOPED_TRACE(refusal.name);
    try {
      encode_one(refusal.array, refusal.target);
      ADD_FAILURE() << "nothing was refused";
    } catch (const ValueError& error) {
      EXPECT_EQ(error.code(), refusal.code);
      EXPECT_EQ(error.where(), "column c, row 2");
      EXPECT_FALSE(error.hint().empty());
    }
  }
}

TEST(CopyEncoder, IntervalsAndZonedTimesAreExactOrRefused) {
  const auto code = [](const std::string& postgres, const std::string& text) -> std::string {
    try {
      encode_one(one_value(arrow::utf8(), text), target_type(postgres));
      return "";
    } catch (const Error& error) {
      return error.code();
    }
  };
  EXPECT_EQ(code("interval", "P0DT0H0M0.0000001S"), "copy.subsecond_digits");
  EXPECT_EQ(code("interval", "P0DT0H0M0.1000000S"), "");
  EXPECT_EQ(code("interval", "P2147483648D"), "copy.out_of_range");
  EXPECT_EQ(code("interval", "P9223372036854775807Y"), "copy.out_of_range");
  for (const char* bad : {"", "P", "P1", "PY", "1Y", "P1S", "PT1Y", "P1.5D", "PT1.S", "P1YX", "PT1-2S", "1 day"})
    EXPECT_EQ(code("interval", bad), "copy.bad_text") << bad;
  for (const char* bad :
       {"", "12:34:56", "12:34", "25:00:00Z", "12:60:00Z", "12:34:56+16:00", "12:34:56 +2", "1:02Z", "12:34:56Zx"})
    EXPECT_EQ(code("timetz", bad), "copy.bad_text") << bad;
  EXPECT_EQ(code("timetz", "12:34:56.0000001Z"), "copy.subsecond_digits");
  TargetColumn years = target_type("interval");
  years.typmod = (6 << 16) | 0xffff;  // interval year to month
  EXPECT_THROW(encode_one(one_value(arrow::utf8(), "P1Y"), years), ValueError);
  arrow::DurationBuilder durations(arrow::duration(arrow::TimeUnit::MILLI), arrow::default_memory_pool());
  ASSERT_TRUE(durations.Append(-1).ok());
  EXPECT_EQ(encode_one(durations.Finish().ValueOrDie(), target_type("interval")), "000100000010fffffffffffffc180000000000000000");
  const std::string parts("\x02\0\0\0\x03\0\0\0\x05\0\0\0", 12);  // 2 months, 3 days, 5 ms: Parquet's INTERVAL
  arrow::FixedSizeBinaryBuilder bytes(arrow::fixed_size_binary(12));
  ASSERT_TRUE(bytes.Append(parts).ok());
  EXPECT_EQ(encode_one(bytes.Finish().ValueOrDie(), target_type("interval")), "00010000001000000000000013880000000300000002");
}

TEST(CopyEncoder, VectorsAndGeometriesOfExtensions) {
  const TargetColumn vector{.name = "c", .type = "vector(2)", .type_oid = 99'999, .typmod = 2, .base_name = "vector"};
  const auto encoded = [&](const std::vector<double>& elements) -> std::string {
    arrow::ListBuilder lists(arrow::default_memory_pool(), std::make_shared<arrow::DoubleBuilder>());
    EXPECT_TRUE(lists.Append().ok());
    for (const double element : elements)
      EXPECT_TRUE(static_cast<arrow::DoubleBuilder&>(*lists.value_builder()).Append(element).ok());
    try {
      return encode_one(lists.Finish().ValueOrDie(), vector);
    } catch (const Error& error) {
      return error.code();
    }
  };
  EXPECT_EQ(encoded({1.5, -0.0}), "00010000000c000200003fc0000080000000");  // vector_send: dimension, unused, float4s
  EXPECT_EQ(encoded({1.5}), "copy.vector_dimension");
  EXPECT_EQ(encoded({0.1, 1}), "copy.not_exact");
  EXPECT_EQ(encoded({1, std::numeric_limits<double>::infinity()}), "copy.not_finite");
  const TargetColumn geometry{.name = "c", .type = "geometry", .type_oid = 99'998, .base_name = "geometry"};
  EXPECT_EQ(encode_one(one_value(arrow::binary(), "AB"), geometry), "0001000000024142");
  EXPECT_EQ(encode_one(one_value(arrow::utf8(), "01fF"), geometry), "00010000000201ff");
  EXPECT_THROW(encode_one(one_value(arrow::utf8(), "POINT(1 2)"), geometry), ValueError);
}

TEST(CopyEncoder, EveryColumnWithAnOffenderIsNamed) {
  const auto schema =
      arrow::schema({arrow::field("a", arrow::utf8()), arrow::field("b", arrow::int64()), arrow::field("c", arrow::utf8())});
  const auto nul = one_value(arrow::utf8(), std::string("x\0", 2));
  const auto batch = arrow::RecordBatch::Make(schema, 1, {nul, one_value(arrow::int64(), "70000"), nul});
  try {
    encode(encoder_for(
               schema,
               {{.name = "a", .type_oid = 25}, {.name = "b", .type = "smallint", .type_oid = 21}, {.name = "c", .type_oid = 25}}),
           batch);
    FAIL();
  } catch (const ValueError& error) {
    EXPECT_EQ(error.where(), "column a, row 1");
    EXPECT_NE(error.message().find("column b, row 1: the value is out of the range of smallint"), std::string::npos)
        << error.message();
    EXPECT_NE(error.message().find("; likewise column c, row 1"), std::string::npos) << error.message();
    EXPECT_NE(error.hint().find("wider type"), std::string::npos) << error.hint();
  }
}

TEST(CopyEncoder, NullInANotNullColumnIsRefused) {
  arrow::Int64Builder builder;
  ASSERT_TRUE(builder.Append(1).ok() && builder.AppendNull().ok());
  try {
    encode_one(builder.Finish().ValueOrDie(), {.name = "c", .type = "bigint", .type_oid = 20, .not_null = true});
    ADD_FAILURE();
  } catch (const ValueError& error) {
    EXPECT_EQ(error.code(), "copy.null_in_not_null");
    EXPECT_EQ(error.where(), "column c, row 2");
  }
}

std::shared_ptr<arrow::Array> texts(const std::vector<std::optional<std::string>>& values) {
  arrow::StringBuilder builder;
  for (const auto& value : values) EXPECT_TRUE((value ? builder.Append(*value) : builder.AppendNull()).ok());
  return builder.Finish().ValueOrDie();
}

// The plain array's values by index: every entry of `entries` may be meant by any row, or by none.
std::shared_ptr<arrow::Array> as_dictionary(const std::shared_ptr<arrow::Array>& entries, const std::vector<int>& rows) {
  arrow::Int32Builder indices;
  for (const int row : rows) EXPECT_TRUE((row < 0 ? indices.AppendNull() : indices.Append(row)).ok());
  const auto type = arrow::dictionary(arrow::int32(), entries->type());
  return arrow::DictionaryArray::FromArrays(type, indices.Finish().ValueOrDie(), entries).ValueOrDie();
}

std::string encode_dictionary(const std::string& target, const std::shared_ptr<arrow::Array>& entries,
                              const std::vector<int>& rows) {
  // The columns are made for plain text: whether a batch has a dictionary is known with the batch.
  const auto columns = encoder_for(arrow::schema({arrow::field("c", arrow::utf8())}), {target_type(target)});
  const auto array = as_dictionary(entries, rows);
  const auto schema = arrow::schema({arrow::field("c", array->type())});
  return encode(columns, arrow::RecordBatch::Make(schema, array->length(), {array}));
}

TEST(CopyEncoder, DictionariesGiveTheBytesOfTheirValues) {
  const auto entries = texts({"R", "", "DELIVER IN PERSON, and a text of more than 32 bytes", "é"});
  const std::vector<int> rows{0, 2, -1, 3, 1, 0, 2};
  const auto plain = texts({"R", "DELIVER IN PERSON, and a text of more than 32 bytes", std::nullopt, "é", "", "R",
                            "DELIVER IN PERSON, and a text of more than 32 bytes"});
  EXPECT_EQ(encode_dictionary("text", entries, rows), encode_one(plain, target_type("text")));
  EXPECT_EQ(encode_dictionary("jsonb", texts({"{}", "[1]"}), {1, 0, -1}),
            encode_one(texts({"[1]", "{}", std::nullopt}), target_type("jsonb")));
  EXPECT_EQ(
      encode_dictionary("uuid", texts({"00112233-4455-6677-8899-aabbccddeeff"}), {0, 0}),
      encode_one(texts({"00112233-4455-6677-8899-aabbccddeeff", "00112233-4455-6677-8899-aabbccddeeff"}), target_type("uuid")));
}

TEST(CopyEncoder, GivesWhatIsEnoughHoweverLargeTheRowsAre) {
  const std::string large(300'000, 'x');
  const auto array = as_dictionary(texts({"small", large}), std::vector<int>(1'000, 1));
  const auto batch = arrow::RecordBatch::Make(arrow::schema({arrow::field("c", array->type())}), array->length(), {array});
  CopyEncoder encoder(encoder_for(arrow::schema({arrow::field("c", arrow::utf8())}), {target_type("text")}));
  int64_t rows = 0;
  size_t bytes = 0;
  while (rows < batch->num_rows()) {
    CopyBuffer buffer;
    rows = encoder.encode(*batch, rows, 1, 1 << 20, buffer);
    bytes += buffer.size();
    ASSERT_LE(buffer.size(), 6u << 20);
    ASSERT_EQ(buffer.bytes().back(), 'x');
  }
  EXPECT_EQ(rows, 1'000);
  EXPECT_EQ(bytes, 1'000 * (large.size() + 6));
}

TEST(CopyEncoder, ExponentsBeyondAllNumbersAreRefused) {
  for (const char* text :
       {"1e9223372036854775807", "1e-9223372036854775808", "12.5e9223372036854775806", "1e99999999999999999999"}) {
    try {
      encode_one(texts({text}), target_type("numeric"), "DECFLOAT");
      ADD_FAILURE() << text;
    } catch (const ValueError& error) {
      EXPECT_EQ(error.code(), "copy.not_a_number");
    }
  }
}

TEST(CopyEncoder, ADictionaryThatChangesIsMadeAnew) {
  const auto columns = encoder_for(arrow::schema({arrow::field("c", arrow::utf8())}), {target_type("text")});
  CopyEncoder encoder(columns);
  CopyBuffer buffer;
  std::string wanted;
  for (const auto& entries : {texts({"a", "b"}), texts({"cc", "dd"}), texts({"e"})}) {
    const auto array = as_dictionary(entries, {0, 0});
    encoder.encode(*arrow::RecordBatch::Make(arrow::schema({arrow::field("c", array->type())}), 2, {array}), 1, buffer);
    const std::string value(static_cast<const arrow::StringArray&>(*entries).GetView(0));
    wanted += encode_one(texts({value, value}), target_type("text"));
  }
  EXPECT_EQ(hex(buffer.bytes()), wanted);
}

TEST(CopyEncoder, ARefusedEntryIsNamedByTheRowThatHasIt) {
  const auto entries = texts({"good", std::string("a\0b", 3)});
  EXPECT_EQ(encode_dictionary("text", entries, {0, -1, 0}),
            encode_one(texts({"good", std::nullopt, "good"}), target_type("text")))
      << "no row has the refused entry";
  try {
    encode_dictionary("text", entries, {0, -1, 1, 1});
    FAIL() << "a NUL was taken";
  } catch (const ValueError& error) {
    EXPECT_EQ(error.code(), "copy.nul_in_text");
    EXPECT_EQ(error.where(), "column c, row 3");
  }
}

}  // namespace
}  // namespace snowmelt
