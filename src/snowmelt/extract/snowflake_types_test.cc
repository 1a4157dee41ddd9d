#include "snowmelt/extract/snowflake_types.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstring>
#include <limits>

#include "snowmelt/error.h"
#include "snowmelt/extract/column_plan.h"
#include "snowmelt/extract/number_text.h"
#include "snowmelt/extract/wire_arrays.h"

namespace snowmelt {
namespace {

constexpr int64_t kInt64Max = std::numeric_limits<int64_t>::max();
constexpr int64_t kInt64Min = std::numeric_limits<int64_t>::min();

SnowflakeColumn column(const std::string& type, std::optional<int> precision = std::nullopt,
                       std::optional<int> scale = std::nullopt) {
  SnowflakeColumn result;
  result.name = "C";
  result.type = type;
  result.precision = precision;
  result.scale = scale;
  return result;
}

std::shared_ptr<arrow::RecordBatch> batch_of(const ArrayPtr& array) {
  return arrow::RecordBatch::Make(arrow::schema({arrow::field("C", array->type())}), array->length(), {array});
}

template <typename Builder, typename T>
ArrayPtr make(std::shared_ptr<arrow::DataType> type, const std::vector<std::optional<T>>& values) {
  std::unique_ptr<arrow::ArrayBuilder> base;
  take(arrow::MakeBuilder(arrow::default_memory_pool(), std::move(type), &base));
  auto& builder = static_cast<Builder&>(*base);
  for (const auto& value : values) take(value ? builder.Append(*value) : builder.AppendNull());
  return take(builder.Finish());
}

ArrayPtr int8s(const std::vector<std::optional<int8_t>>& v) { return make<arrow::Int8Builder, int8_t>(arrow::int8(), v); }
ArrayPtr int16s(const std::vector<std::optional<int16_t>>& v) { return make<arrow::Int16Builder, int16_t>(arrow::int16(), v); }
ArrayPtr int32s(const std::vector<std::optional<int32_t>>& v) { return make<arrow::Int32Builder, int32_t>(arrow::int32(), v); }
ArrayPtr int64s(const std::vector<std::optional<int64_t>>& v) { return make<arrow::Int64Builder, int64_t>(arrow::int64(), v); }
ArrayPtr texts(const std::vector<std::optional<std::string>>& v) {
  return make<arrow::StringBuilder, std::string>(arrow::utf8(), v);
}
ArrayPtr binaries(const std::vector<std::optional<std::string>>& v) {
  return make<arrow::BinaryBuilder, std::string>(arrow::binary(), v);
}

ArrayPtr decimals(int precision, int scale, const std::vector<std::optional<std::string>>& v) {
  arrow::Decimal128Builder builder(arrow::decimal128(precision, scale));
  for (const auto& text : v) {
    if (!text) {
      take(builder.AppendNull());
      continue;
    }
    const int128_t value = *parse_decimal(*text, scale);
    take(builder.Append(arrow::Decimal128(static_cast<int64_t>(value >> 64), static_cast<uint64_t>(value))));
  }
  return take(builder.Finish());
}

ArrayPtr structs(const std::vector<std::pair<std::string, ArrayPtr>>& children) {
  arrow::ArrayVector arrays;
  std::vector<std::string> names;
  for (const auto& [name, array] : children) {
    names.push_back(name);
    arrays.push_back(array);
  }
  return take(arrow::StructArray::Make(arrays, names));
}

// What a value of the converted column prints as: exact, and "null" for NULL.
std::vector<std::string> printed(const arrow::Array& array) {
  std::vector<std::string> result;
  for (int64_t i = 0; i < array.length(); ++i) result.push_back(array.IsNull(i) ? "null" : take(array.GetScalar(i))->ToString());
  return result;
}

using Strings = std::vector<std::string>;

// The type and the values of the first field, or the code of the error.
std::pair<std::string, Strings> converted(const SnowflakeColumn& row_type, const ArrayPtr& wire, ColumnRules options = {},
                                          int field = 0) {
  try {
    const WireConverter converter({row_type}, options);
    const auto batch = converter.convert(*batch_of(wire), 100);
    take(batch->ValidateFull());
    EXPECT_TRUE(batch->column(field)->type()->Equals(*converter.schema()->field(field)->type()));
    return {batch->column(field)->type()->ToString(), printed(*batch->column(field))};
  } catch (const Error& error) {
    return {error.code(), {error.where()}};
  }
}

using Result = std::pair<std::string, Strings>;

TEST(SnowflakeTypes, number_of_scale_0_is_int64_from_every_width) {
  const SnowflakeColumn number = column("fixed", 38, 0);
  EXPECT_EQ(converted(number, int8s({-128, std::nullopt, 127})), (Result{"int64", {"-128", "null", "127"}}));
  EXPECT_EQ(converted(number, int16s({-32768, std::nullopt, 32767})), (Result{"int64", {"-32768", "null", "32767"}}));
  EXPECT_EQ(converted(number, int32s({INT32_MIN, 0, INT32_MAX})), (Result{"int64", {"-2147483648", "0", "2147483647"}}));
  EXPECT_EQ(converted(number, int64s({kInt64Min, 0, kInt64Max})),
            (Result{"int64", {"-9223372036854775808", "0", "9223372036854775807"}}));
  EXPECT_EQ(converted(number, decimals(38, 0, {"-9223372036854775808", std::nullopt, "9223372036854775807"})),
            (Result{"int64", {"-9223372036854775808", "null", "9223372036854775807"}}));
}

TEST(SnowflakeTypes, an_integer_beyond_64_bits_is_refused_by_name) {
  for (const char* value : {"9223372036854775808", "-9223372036854775809", "99999999999999999999999999999999999999"}) {
    EXPECT_EQ(converted(column("fixed", 38, 0), decimals(38, 0, {"1", value})),
              (Result{"snowflake.integer_out_of_range", {"column C, row 102"}}));
    EXPECT_EQ(converted(column("fixed", 38, 0), decimals(38, 0, {"1", value}), {.integers = IntegerMode::numeric}),
              (Result{"decimal128(38, 0)", {"1", value}}));
  }
}

TEST(SnowflakeTypes, number_with_a_scale_has_the_carrier_of_its_precision) {
  for (const ArrayPtr& wire : {int8s({-125, std::nullopt, 0}), int16s({-125, std::nullopt, 0}), int32s({-125, std::nullopt, 0}),
                               int64s({-125, std::nullopt, 0}), decimals(38, 2, {"-1.25", std::nullopt, "0"})}) {
    EXPECT_EQ(converted(column("fixed", 9, 2), wire), (Result{"decimal32(9, 2)", {"-1.25", "null", "0.00"}}));
    EXPECT_EQ(converted(column("fixed", 12, 2), wire), (Result{"decimal64(12, 2)", {"-1.25", "null", "0.00"}}));
    EXPECT_EQ(converted(column("fixed", 18, 2), wire), (Result{"decimal64(18, 2)", {"-1.25", "null", "0.00"}}));
    EXPECT_EQ(converted(column("fixed", 19, 2), wire), (Result{"decimal128(19, 2)", {"-1.25", "null", "0.00"}}));
  }
  EXPECT_EQ(converted(column("fixed", 38, 37), decimals(38, 37, {"-9.9999999999999999999999999999999999999"})),
            (Result{"decimal128(38, 37)", {"-9.9999999999999999999999999999999999999"}}));
  EXPECT_EQ(converted(column("fixed", 5, 0), int16s({-32768}), {.integers = IntegerMode::numeric}),
            (Result{"decimal32(5, 0)", {"-32768"}}));
}

// Every power of ten and its neighbour, at every precision: the limit is 10^p - 1, exactly.
TEST(SnowflakeTypes, a_number_keeps_within_its_precision) {
  for (int precision = 1; precision <= 38; ++precision) {
    const std::string most(static_cast<size_t>(precision), '9');
    const SnowflakeColumn type = column("fixed", precision, 0);
    const ColumnRules numeric{.integers = IntegerMode::numeric};
    EXPECT_EQ(converted(type, decimals(38, 0, {most, fmt::format("-{}", most)}), numeric).second,
              (Strings{most, fmt::format("-{}", most)}))
        << precision;
    const std::string over = decimal_text(power_of_ten(precision - 1), 0) + "0";
    if (precision < 38) {
      EXPECT_EQ(converted(type, decimals(38, 0, {"0", fmt::format("-{}", over)}), numeric).first, "snowflake.precision_exceeded")
          << precision;
    }
    if (precision < 18) {
      EXPECT_EQ(converted(type, int64s({kPowersOfTen[precision] - 1}), numeric).second, Strings{most});
      EXPECT_EQ(converted(type, int64s({kPowersOfTen[precision]}), numeric).first, "snowflake.precision_exceeded");
    }
  }
  EXPECT_EQ(converted(column("fixed", 2, 1), int8s({99, -99})).second, (Strings{"9.9", "-9.9"}));
  EXPECT_EQ(converted(column("fixed", 2, 1), int8s({99, 100})), (Result{"snowflake.precision_exceeded", {"column C, row 102"}}));
}

TEST(SnowflakeTypes, what_lies_under_a_null_is_of_no_account) {
  const ArrayPtr values = int64s({kInt64Max, 5});
  auto data = values->data()->Copy();
  auto bitmap = take(arrow::AllocateEmptyBitmap(2));
  bitmap->mutable_data()[0] = 2;
  data->buffers[0] = bitmap;
  data->null_count = 1;
  const ArrayPtr wire = arrow::MakeArray(data);
  EXPECT_EQ(converted(column("fixed", 5, 2), wire), (Result{"decimal32(5, 2)", {"null", "0.05"}}));
  EXPECT_EQ(converted(column("timestamp_ntz", 0, 0), wire).second, (Strings{"null", "1970-01-01 00:00:05.000000"}));
  EXPECT_EQ(converted(column("time", 0, 0), wire).second, (Strings{"null", "00:00:05.000000"}));
}

TEST(SnowflakeTypes, slices_are_read_at_their_offset) {
  EXPECT_EQ(converted(column("fixed", 9, 1), int16s({1, std::nullopt, 3, 4})->Slice(1, 2)).second, (Strings{"null", "0.3"}));
  EXPECT_EQ(converted(column("fixed", 18, 1), int64s({1, std::nullopt, 3, 4})->Slice(1, 2)).second, (Strings{"null", "0.3"}));
  EXPECT_EQ(converted(column("fixed", 38, 0), decimals(38, 0, {"1", std::nullopt, "3", "4"})->Slice(1, 2)).second,
            (Strings{"null", "3"}));
  const ArrayPtr stamps = structs({{"epoch", int64s({1, 2, 3})}, {"fraction", int32s({0, 1'000, 2'000})}})->Slice(1, 2);
  EXPECT_EQ(converted(column("timestamp_ntz", 0, 9), stamps).second,
            (Strings{"1970-01-01 00:00:02.000001", "1970-01-01 00:00:03.000002"}));
}

TEST(SnowflakeTypes, the_wire_may_be_unaligned) {
  const ArrayPtr aligned = decimals(38, 0, {"1", "-2", "3"});
  auto buffer = take(arrow::AllocateBuffer(56));
  std::memcpy(buffer->mutable_data() + 8, aligned->data()->buffers[1]->data(), 48);
  auto data = aligned->data()->Copy();
  data->buffers[1] = arrow::SliceBuffer(std::shared_ptr<arrow::Buffer>(std::move(buffer)), 8, 48);
  EXPECT_EQ(converted(column("fixed", 38, 0), arrow::MakeArray(data)).second, (Strings{"1", "-2", "3"}));
}

TEST(SnowflakeTypes, equal_bits_are_not_copied) {
  const ArrayPtr wire = int64s({1, 2});
  for (const SnowflakeColumn& type : {column("fixed", 38, 0), column("fixed", 12, 2)}) {
    const WireConverter converter({type}, {});
    EXPECT_EQ(converter.convert(*batch_of(wire), 0)->column(0)->data()->buffers[1]->data(), wire->data()->buffers[1]->data());
  }
}

TEST(SnowflakeTypes, time_at_every_scale_and_width) {
  for (int scale = 0; scale <= 9; ++scale) {
    const int64_t last = 86'400 * kPowersOfTen[scale] - 1;
    const std::string fraction =
        std::string(static_cast<size_t>(scale), '9') + std::string(static_cast<size_t>((scale <= 6 ? 6 : 9) - scale), '0');
    const Result expected{scale <= 6 ? "time64[us]" : "time64[ns]",
                          {scale <= 6 ? "00:00:00.000000" : "00:00:00.000000000", "null", "23:59:59." + fraction}};
    EXPECT_EQ(converted(column("time", 0, scale), int64s({0, std::nullopt, last})), expected) << scale;
    if (last <= INT32_MAX) {
      EXPECT_EQ(converted(column("time", 0, scale), int32s({0, std::nullopt, static_cast<int32_t>(last)})), expected) << scale;
    }
    EXPECT_EQ(converted(column("time", 0, scale), int64s({last + 1})), (Result{"snowflake.bad_time", {"column C, row 101"}}));
    EXPECT_EQ(converted(column("time", 0, scale), int64s({-1})).first, "snowflake.bad_time");
  }
}

// One instant, 1969-12-31 23:59:58.75 (negative, so that rounding towards zero would show), in every form and at every scale that
// holds it.
TEST(SnowflakeTypes, timestamps_at_every_scale_in_every_form) {
  const std::string text = "1969-12-31 23:59:58.750000";
  for (int scale = 2; scale <= 9; ++scale) {
    const ArrayPtr units = int64s({-125 * kPowersOfTen[scale - 2], std::nullopt});
    const ArrayPtr seconds = int64s({-2, std::nullopt});
    const ArrayPtr fraction = int32s({750'000'000, std::nullopt});
    const ArrayPtr zone = int32s({1440 - 210, std::nullopt});
    const ArrayPtr pair = structs({{"epoch", seconds}, {"fraction", fraction}});
    for (const ArrayPtr& wire : {units, pair}) {
      EXPECT_EQ(converted(column("timestamp_ntz", 0, scale), wire), (Result{"timestamp[us]", {text, "null"}})) << scale;
      EXPECT_EQ(converted(column("timestamp_ltz", 0, scale), wire), (Result{"timestamp[us, tz=UTC]", {text + "Z", "null"}}))
          << scale;
    }
    for (const ArrayPtr& wire : {structs({{"epoch", units}, {"timezone", zone}}),
                                 structs({{"epoch", seconds}, {"fraction", fraction}, {"timezone", zone}})}) {
      EXPECT_EQ(converted(column("timestamp_tz", 0, scale), wire), (Result{"timestamp[us, tz=UTC]", {text + "Z", "null"}}))
          << scale;
      EXPECT_EQ(converted(column("timestamp_tz", 0, scale), wire, {.tz_offset = true}, 1), (Result{"int16", {"-210", "null"}}))
          << scale;
    }
    EXPECT_EQ(converted(column("timestamp_tz", 0, scale), pair).first, "snowflake.unexpected_wire_type");
    EXPECT_EQ(converted(column("timestamp_tz", 0, scale), units).first, "snowflake.unexpected_wire_type");
    EXPECT_EQ(
        converted(column("timestamp_ntz", 0, scale), structs({{"epoch", seconds}, {"fraction", fraction}, {"timezone", zone}}))
            .first,
        "snowflake.unexpected_wire_type");
  }
  EXPECT_EQ(converted(column("timestamp_ntz", 0, 0), int64s({-1})).second, Strings{"1969-12-31 23:59:59.000000"});
  EXPECT_EQ(converted(column("timestamp_ntz", 0, 1), int64s({-1})).second, Strings{"1969-12-31 23:59:59.900000"});
}

TEST(SnowflakeTypes, digits_below_the_microsecond_follow_on_subsecond) {
  struct Case {
    int64_t nanos;  // since 1970
    int64_t truncated;
    int64_t rounded;
  };
  for (const auto& [nanos, truncated, rounded] :
       {Case{1, 0, 0}, Case{499, 0, 0}, Case{500, 0, 0}, Case{501, 0, 1}, Case{1'500, 1, 2}, Case{2'500, 2, 2},
        Case{999'999'999, 999'999, 1'000'000}, Case{-1, -1, 0}, Case{-500, -1, 0}, Case{-1'500, -2, -2}, Case{-2'500, -3, -2},
        Case{-1'501, -2, -2}, Case{-1'499, -2, -1}}) {
    const int64_t second = floor_divide(nanos, 1'000'000'000);
    const ArrayPtr pair =
        structs({{"epoch", int64s({second})}, {"fraction", int32s({static_cast<int32_t>(nanos - second * 1'000'000'000)})}});
    for (const ArrayPtr& wire : {int64s({nanos}), pair}) {
      const auto value = [&](SubsecondMode mode) {
        const WireConverter converter({column("timestamp_ntz", 0, 9)}, {.on_subsecond = mode});
        return values_of<int64_t>(*converter.convert(*batch_of(wire), 0)->column(0))[0];
      };
      EXPECT_EQ(value(SubsecondMode::truncate), truncated) << nanos;
      EXPECT_EQ(value(SubsecondMode::round), rounded) << nanos;
      EXPECT_EQ(value(SubsecondMode::nanos), nanos);
      EXPECT_EQ(converted(column("timestamp_ntz", 0, 9), wire), (Result{"snowflake.subsecond_digits", {"column C, row 101"}}));
    }
  }
  for (int scale = 7; scale <= 8; ++scale) {
    EXPECT_EQ(converted(column("timestamp_ntz", 0, scale), int64s({-1}), {.on_subsecond = SubsecondMode::truncate}).second,
              Strings{"1969-12-31 23:59:59.999999"});
  }
}

TEST(SnowflakeTypes, years_1_to_9999_fit_and_nanoseconds_have_their_range) {
  const ArrayPtr wide = structs({{"epoch", int64s({-62135596800, 253402300799})}, {"fraction", int32s({0, 999'999'000})}});
  EXPECT_EQ(converted(column("timestamp_ntz", 0, 9), wide).second,
            (Strings{"0001-01-01 00:00:00.000000", "9999-12-31 23:59:59.999999"}));
  EXPECT_EQ(converted(column("timestamp_ntz", 0, 9), wide, {.on_subsecond = SubsecondMode::nanos}),
            (Result{"snowflake.timestamp_out_of_range", {"column C, row 101"}}));
  // The two ends of 64-bit nanoseconds, and one beyond each.
  const auto nanos = [](int64_t second, int32_t fraction) {
    return converted(column("timestamp_ntz", 0, 9), structs({{"epoch", int64s({second})}, {"fraction", int32s({fraction})}}),
                     {.on_subsecond = SubsecondMode::nanos});
  };
  EXPECT_EQ(nanos(-9223372037, 145224192).second, Strings{"1677-09-21 00:12:43.145224192"});
  EXPECT_EQ(nanos(-9223372037, 145224191).first, "snowflake.timestamp_out_of_range");
  EXPECT_EQ(nanos(9223372036, 854775807).second, Strings{"2262-04-11 23:47:16.854775807"});
  EXPECT_EQ(nanos(9223372036, 854775808).first, "snowflake.timestamp_out_of_range");
  EXPECT_EQ(converted(column("timestamp_ntz", 0, 0), int64s({9223372036855})).first, "snowflake.timestamp_out_of_range");
  EXPECT_EQ(converted(column("timestamp_ntz", 0, 0), int64s({-9223372036855})).first, "snowflake.timestamp_out_of_range");
}

TEST(SnowflakeTypes, a_fraction_in_another_unit_is_refused) {
  const auto code = [](int scale, int32_t fraction) {
    return converted(column("timestamp_ntz", 0, scale), structs({{"epoch", int64s({0})}, {"fraction", int32s({fraction})}}))
        .first;
  };
  EXPECT_EQ(code(4, 100'000), "timestamp[us]");
  EXPECT_EQ(code(4, 1'234), "snowflake.unexpected_fraction");
  EXPECT_EQ(code(9, 1'000'000'000), "snowflake.unexpected_fraction");
  EXPECT_EQ(code(9, -1), "snowflake.unexpected_fraction");
}

TEST(SnowflakeTypes, decfloat_is_canonical_text) {
  const auto text = [](int16_t exponent, const std::string& bytes) {
    return converted(column("decfloat"), structs({{"exponent", int16s({exponent})}, {"significand", binaries({bytes})}}))
        .second.at(0);
  };
  EXPECT_EQ(text(0, ""), "0");
  EXPECT_EQ(text(5, std::string(1, '\0')), "0");
  EXPECT_EQ(text(0, "\x7b"), "123");
  EXPECT_EQ(text(-2, "\x7b"), "1.23");
  EXPECT_EQ(text(-3, "\x7b"), "0.123");
  EXPECT_EQ(text(-5, "\x7b"), "0.00123");
  EXPECT_EQ(text(2, "\x7b"), "12300");
  EXPECT_EQ(text(-1, "\x64"), "10");
  EXPECT_EQ(text(-1, "\xff\xff\x85"), "-12.3");
  EXPECT_EQ(text(-10, "\x85"), "-1.23e-8");
  EXPECT_EQ(text(16384, "\x0f"), "1.5e16385");
  EXPECT_EQ(text(36, "\x01"), fmt::format("1{}", std::string(36, '0')));
  EXPECT_EQ(text(38, "\x01"), "1e38");
  // 10^38 - 1, the largest significand: 16 bytes.
  EXPECT_EQ(text(0, std::string("\x4b\x3b\x4c\xa8\x5a\x86\xc4\x7a\x09\x8a\x22\x3f\xff\xff\xff\xff", 16)), std::string(38, '9'));
  EXPECT_EQ(
      converted(column("decfloat"), structs({{"exponent", int16s({0})}, {"significand", binaries({std::string(17, '\1')})}}))
          .first,
      "snowflake.decfloat_too_long");
}

TEST(SnowflakeTypes, the_other_types) {
  const auto reals = make<arrow::DoubleBuilder, double>(arrow::float64(), {-0.0, std::nullopt});
  EXPECT_EQ(converted(column("real"), reals), (Result{"double", {"-0", "null"}}));
  EXPECT_EQ(converted(column("text"), texts({"", std::nullopt, "ä"})), (Result{"string", {"", "null", "ä"}}));
  for (const char* type : {"variant", "object", "array", "map", "uuid"})
    EXPECT_EQ(converted(column(type), texts({"{}"})).first, "string") << type;
  EXPECT_EQ(converted(column("binary"), binaries({"a"})).first, "binary");
  EXPECT_EQ(converted(column("date"), make<arrow::Date32Builder, int32_t>(arrow::date32(), {-719162, 2932896})),
            (Result{"date32[day]", {"0001-01-01", "9999-12-31"}}));
  EXPECT_EQ(converted(column("boolean"), make<arrow::BooleanBuilder, bool>(arrow::boolean(), {true, std::nullopt})),
            (Result{"bool", {"true", "null"}}));
  EXPECT_EQ(converted(column("geography"), texts({"POINT(1 2)"})).second, Strings{"POINT(1 2)"});
  EXPECT_EQ(converted(column("geometry"), binaries({std::string("\x01\xff", 2), std::nullopt})).second,
            (Strings{"01ff", "null"}));
  EXPECT_EQ(converted(column("interval_year_month"), int32s({-14, 25})).second, (Strings{"P-1Y-2M", "P2Y1M"}));
  EXPECT_EQ(converted(column("interval_day_time"), int64s({-90'061'500'000'000, 1})).second,
            (Strings{"P-1DT-1H-1M-1.5S", "P0DT0H0M0.000000001S"}));
  EXPECT_EQ(converted(column("interval_day_time"), decimals(38, 0, {"86399999999999999999999"})).second,
            Strings{"P999999999DT23H59M59.999999999S"});
  EXPECT_EQ(converted(column("text"), int64s({1})), (Result{"snowflake.unexpected_wire_type", {"column C"}}));
  EXPECT_EQ(converted(column("real"), int64s({1})).first, "snowflake.unexpected_wire_type");
  EXPECT_EQ(converted(column("fixed", 5, 2), decimals(38, 3, {"1"})).first, "snowflake.unexpected_wire_type");
}

TEST(SnowflakeTypes, vectors_are_lists_of_float32) {
  const auto vector_of = [](const ArrayPtr& elements) { return take(arrow::FixedSizeListArray::FromArrays(elements, 2)); };
  const auto floats = make<arrow::FloatBuilder, float>(arrow::float32(), {1.5F, -0.0F});
  EXPECT_EQ(converted(column("vector"), vector_of(floats)).first, "list<element: float not null>");
  EXPECT_EQ(converted(column("vector"), vector_of(int32s({1 << 24, -7}))).first, "list<element: float not null>");
  EXPECT_EQ(converted(column("vector"), vector_of(int32s({(1 << 24) + 1, -7}))),
            (Result{"snowflake.vector_element_out_of_range", {"column C, row 101"}}));
}

SnowflakeColumn with(SnowflakeColumn type, const std::string& extension, std::vector<SnowflakeColumn> fields = {}) {
  type.extension = extension;
  type.fields = std::move(fields);
  return type;
}

TEST(SnowflakeTypes, the_row_type_names_extensions_and_elements) {
  const auto source_type = [](const SnowflakeColumn& type) { return WireConverter({type}, {}).columns()[0].source_type.text(); };
  EXPECT_EQ(source_type(with(column("text"), "UUID")), "UUID");
  EXPECT_EQ(source_type(with(column("object"), "GEOGRAPHY")), "GEOGRAPHY");
  EXPECT_EQ(converted(with(column("object"), "GEOGRAPHY"), texts({"{}"})), (Result{"string", {"{}"}}));
  EXPECT_EQ(source_type(with(column("binary"), "GEOMETRY")), "GEOMETRY");
  EXPECT_EQ(converted(with(column("binary"), "GEOMETRY"), binaries({"\x01"})).first, "binary");
  SnowflakeColumn vector = with(column("vector"), "", {column("fixed", 38, 0)});
  vector.dimension = 2;
  EXPECT_EQ(source_type(vector), "VECTOR(INT,2)");
  const ArrayPtr elements = int32s({INT32_MAX, INT32_MIN});
  EXPECT_EQ(converted(vector, take(arrow::FixedSizeListArray::FromArrays(elements, 2))).second,
            Strings{"list<element: int32 not null>[2147483647, -2147483648]"});
  vector.fields = {column("real")};
  EXPECT_EQ(source_type(vector), "VECTOR(FLOAT,2)");
}

TEST(SnowflakeTypes, an_object_without_members_is_an_empty_one) {
  const auto validity = arrow::Buffer::FromString("\x01");
  const auto rows = std::make_shared<arrow::StructArray>(arrow::struct_({}), 2, arrow::ArrayVector{}, validity, 1);
  EXPECT_EQ(converted({.name = "C", .type = "object"}, rows).second, (Strings{"{}", "null"}));
}

TEST(SnowflakeTypes, structured_values_in_native_form_become_exact_json) {
  const auto named = [](SnowflakeColumn type, const std::string& name) {
    type.name = name;
    return type;
  };
  const SnowflakeColumn object = with(column("object"), "",
                                      {named(column("fixed", 12, 2), "money"), named(column("timestamp_ntz", 0, 3), "at"),
                                       named(column("text"), "text"), named(column("binary"), "bytes")});
  const ArrayPtr rows = structs({{"money", int64s({12'345, std::nullopt})},
                                 {"at", int64s({1'700'000'000'123, 0})},
                                 {"text", texts({"q\"", "ä"})},
                                 {"bytes", binaries({"\x01\xff", std::nullopt})}});
  EXPECT_EQ(converted(object, rows), (Result{"string",
                                             {R"({"money":123.45,"at":"2023-11-14 22:13:20.123000","text":"q\"","bytes":"01ff"})",
                                              R"({"money":null,"at":"1970-01-01 00:00:00.000000","text":"ä","bytes":null})"}}));
  const SnowflakeColumn array = with(column("array"), "", {column("fixed", 38, 0)});
  const auto lists = take(arrow::ListArray::FromArrays(*int32s({0, std::nullopt, 2, 3}),
                                                       *decimals(38, 0, {"1", std::nullopt, std::string(38, '9')})));
  EXPECT_EQ(converted(array, lists).second, (Strings{"[1,null]", "null", fmt::format("[{}]", std::string(38, '9'))}));
  const SnowflakeColumn map = with(column("map"), "", {column("text"), column("date")});
  const auto days = make<arrow::Date32Builder, int32_t>(arrow::date32(), {0, 1});
  const auto maps = take(arrow::MapArray::FromArrays(int32s({0, 2}), texts({"a", "b"}), days));
  EXPECT_EQ(converted(map, maps).second, Strings{R"({"a":"1970-01-01","b":"1970-01-02"})"});
  // Without fields the members are taken as they are; bytes have no JSON form then.
  EXPECT_EQ(converted(column("object"), structs({{"n", int32s({1})}})).second, Strings{R"({"n":1})"});
  EXPECT_EQ(converted(column("object"), structs({{"b", binaries({"x"})}})).first, "snowflake.unexpected_wire_type");
  EXPECT_EQ(converted(with(column("object"), "", {named(column("hologram"), "h")}), structs({{"h", int32s({1})}})),
            (Result{"snowflake.unknown_type", {"column C"}}));
}

// The rows of a structured column, all at once and cut in every way.
TEST(SnowflakeTypes, pieces_of_structured_columns_are_the_same_rows) {
  const auto lists =
      take(arrow::ListArray::FromArrays(*int32s({0, 2, std::nullopt, 2, 5}), *texts({"a", "b\x01", "", std::nullopt, "e"})));
  const auto maps = take(
      arrow::MapArray::FromArrays(int32s({0, 1, 1, 3, 4}), texts({"k", "l", "m", "n"}), int64s({5, std::nullopt, kInt64Min, 7})));
  const ArrayPtr rows = structs({{"list", lists}, {"map", maps}, {"bytes", binaries({"\x01\xff", "", std::nullopt, "x"})}});
  SnowflakeColumn list = with(column("array"), "", {column("text")});
  SnowflakeColumn map = with(column("map"), "", {column("text"), column("fixed", 38, 0)});
  SnowflakeColumn bytes = column("binary");
  list.name = "list", map.name = "map", bytes.name = "bytes";
  const SnowflakeColumn object = with(column("object"), "", {list, map, bytes});
  const Strings whole = converted(object, rows).second;
  ASSERT_EQ(whole.size(), 4u);
  for (int64_t begin = 0; begin < 4; ++begin) {
    for (int64_t count = 1; begin + count <= 4; ++count) {
      const Strings piece(whole.begin() + begin, whole.begin() + begin + count);
      EXPECT_EQ(converted(object, rows->Slice(begin, count)).second, piece) << begin << " " << count;
      int64_t bytes_there = 0;
      for (const std::string& text : piece) bytes_there += static_cast<int64_t>(text.size());
      EXPECT_GE(json_bytes_max(*rows, begin, count), bytes_there);
      EXPECT_LT(json_bytes_max(*rows, begin, count), 20 * bytes_there);
    }
  }
}

TEST(SnowflakeTypes, a_batch_is_cut_by_the_bytes_of_its_json_text) {
  constexpr int64_t kRows = 1'000;
  const std::string name(1'000'000, 'N');
  SnowflakeColumn member = column("boolean");
  member.name = name;
  const WireConverter converter({with(column("object"), "", {member})}, {});
  const auto wire = batch_of(structs({{name, take(arrow::MakeArrayFromScalar(arrow::BooleanScalar(true), kRows))}}));
  const auto pieces = converter.cut(wire);
  EXPECT_GT(pieces.size(), 15u);  // a gigabyte
  int64_t rows = 0;
  for (const auto& piece : pieces) rows += piece->num_rows();
  EXPECT_EQ(rows, kRows);
  EXPECT_LT(converter.convert(*pieces.back(), 0)->column(0)->data()->buffers[2]->size(), 64 << 20);
  EXPECT_EQ(converter.cut(wire->Slice(0, 5)).size(), 1u);
  const auto items = take(arrow::ListArray::FromArrays(*int32s({0, static_cast<int32_t>(kRows)}), *wire->column(0)));
  EXPECT_EQ(converted(with(column("array"), "", {with(column("object"), "", {member})}), items).first, "copy.json_too_long");
}

TEST(SnowflakeTypes, on_subsecond_holds_for_times_and_intervals_too) {
  const SnowflakeColumn time = column("time", 0, 9);
  const ArrayPtr wire = int64s({1'000, 1'500, 2'500, 86'399'999'999'999, std::nullopt});
  EXPECT_EQ(converted(time, wire).first, "time64[ns]");
  const auto micros = [&](SubsecondMode mode) {
    const WireConverter converter({time}, {.on_subsecond = mode});
    const ArrayPtr values = converter.convert(*batch_of(wire), 0)->column(0);
    EXPECT_EQ(values->type()->ToString(), "time64[us]");
    std::vector<int64_t> result;
    for (int64_t i = 0; i < 4; ++i) result.push_back(static_cast<const arrow::Time64Array&>(*values).Value(i));
    return result;
  };
  EXPECT_EQ(micros(SubsecondMode::truncate), (std::vector<int64_t>{1, 1, 2, 86'399'999'999}));
  EXPECT_EQ(micros(SubsecondMode::round), (std::vector<int64_t>{1, 2, 2, 86'400'000'000}));
  const auto interval = [](SubsecondMode mode) {
    return converted(column("interval_day_time"), int64s({1'500, -1'500, 1}), {.on_subsecond = mode}).second;
  };
  EXPECT_EQ(interval(SubsecondMode::truncate), (Strings{"P0DT0H0M0.000001S", "P-0DT-0H-0M-0.000002S", "P0DT0H0M0S"}));
  EXPECT_EQ(interval(SubsecondMode::round), (Strings{"P0DT0H0M0.000002S", "P-0DT-0H-0M-0.000002S", "P0DT0H0M0S"}));
}

TEST(SnowflakeTypes, an_unknown_type_stops_before_row_one_naming_every_column) {
  try {
    SnowflakeColumn second = column("hologram");
    second.name = "D";
    const WireConverter converter({column("period"), column("text"), second}, {});
    FAIL();
  } catch (const ValueError& error) {
    EXPECT_EQ(error.code(), "snowflake.unknown_type");
    EXPECT_NE(error.message().find("column C of type period, column D of type hologram"), std::string::npos) << error.message();
  }
}

TEST(SnowflakeTypes, the_schema_names_types_and_offsets) {
  SnowflakeColumn lower = column("timestamp_tz", 0, 3);
  lower.name = "created at";
  lower.nullable = false;
  SnowflakeColumn upper = column("timestamp_tz", 0, 9);
  upper.name = "CREATED_AT";
  const WireConverter converter({column("fixed", 12, 2), lower, upper}, {.tz_offset = true});
  std::string text;
  for (const SourceColumn& c : converter.columns())
    text += c.name + " " + c.source_type.text() + (c.nullable ? "" : " not null") + "; ";
  EXPECT_EQ(text,
            "C NUMBER(12,2); created at TIMESTAMP_TZ(3) not null; created at_tz_offset NUMBER(4,0) not null; "
            "CREATED_AT TIMESTAMP_TZ(9); CREATED_AT_TZ_OFFSET NUMBER(4,0); ");
  EXPECT_THROW(converter.check_wire_schema(*arrow::schema({arrow::field("C", arrow::int8())})), VerificationError);
  EXPECT_THROW(WireConverter({column("text")}, {}).check_wire_schema(*arrow::schema({arrow::field("X", arrow::utf8())})),
               VerificationError);
  SnowflakeColumn required = column("text");
  required.nullable = false;
  EXPECT_EQ(converted(required, texts({"a", std::nullopt})).first, "snowflake.null_in_not_null");
}

// Text of a JSON result and the same values off the wire end in the same array.
TEST(SnowflakeTypes, json_text_ends_as_the_wire_does) {
  const auto from_text = [](const SnowflakeColumn& type, const std::vector<Value>& values, ColumnRules options = {},
                            int field = 0) -> Result {
    try {
      std::vector<Row> rows;
      for (const Value& value : values) rows.push_back({value});
      const WireConverter converter({type}, options);
      const auto batch = converter.convert_rows(rows, 100);
      take(batch->ValidateFull());
      return {batch->column(field)->type()->ToString(), printed(*batch->column(field))};
    } catch (const Error& error) {
      return {error.code(), {error.where()}};
    }
  };
  EXPECT_EQ(from_text(column("fixed", 38, 0), {"-5", std::nullopt, "9223372036854775807"}),
            (Result{"int64", {"-5", "null", "9223372036854775807"}}));
  EXPECT_EQ(from_text(column("fixed", 38, 0), {"9223372036854775808"}),
            (Result{"snowflake.integer_out_of_range", {"column C, row 101"}}));
  EXPECT_EQ(from_text(column("fixed", 38, 0), {"1.5"}), (Result{"snowflake.bad_text", {"column C, row 101"}}));
  EXPECT_EQ(from_text(column("fixed", 12, 2), {"-12.5", "3", ".25", "1.500"}),
            (Result{"decimal64(12, 2)", {"-12.50", "3.00", "0.25", "1.50"}}));
  EXPECT_EQ(from_text(column("real"), {"1e308", "NaN", "-inf", "-0"}), (Result{"double", {"1e+308", "nan", "-inf", "-0"}}));
  EXPECT_EQ(from_text(column("boolean"), {"1", "0", "TRUE", "false"}).second, (Strings{"true", "false", "true", "false"}));
  EXPECT_EQ(from_text(column("boolean"), {"yes"}).first, "snowflake.bad_text");
  EXPECT_EQ(from_text(column("date"), {"-1", "19782"}).second, (Strings{"1969-12-31", "2024-02-29"}));
  EXPECT_EQ(from_text(column("time", 0, 3), {"86399.999", "0"}), (Result{"time64[us]", {"23:59:59.999000", "00:00:00.000000"}}));
  EXPECT_EQ(from_text(column("timestamp_ntz", 0, 9), {"-1.25", "-0.000001000", std::nullopt}),
            (Result{"timestamp[us]", {"1969-12-31 23:59:58.750000", "1969-12-31 23:59:59.999999", "null"}}));
  EXPECT_EQ(from_text(column("timestamp_ntz", 0, 9), {"0.000000001"}).first, "snowflake.subsecond_digits");
  EXPECT_EQ(from_text(column("timestamp_tz", 0, 3), {"-1.250 1230", std::nullopt}),
            (Result{"timestamp[us, tz=UTC]", {"1969-12-31 23:59:58.750000Z", "null"}}));
  EXPECT_EQ(from_text(column("timestamp_tz", 0, 3), {"-1.250 1230"}, {.tz_offset = true}, 1), (Result{"int16", {"-210"}}));
  EXPECT_EQ(from_text(column("timestamp_tz", 0, 3), {"5"}).first, "snowflake.bad_text");
  EXPECT_EQ(from_text(column("binary"), {"41fF", ""}), (Result{"binary", {"A\xff", ""}}));
  EXPECT_EQ(from_text(column("binary"), {"0"}).first, "snowflake.bad_text");
  EXPECT_EQ(from_text(column("vector"), {"[1,2.5, -3]", "[]", std::nullopt}).first, "list<element: float not null>");
  EXPECT_EQ(from_text(column("variant"), {"{\"a\": 1}"}).second, Strings{"{\"a\": 1}"});
}

TEST(NumberText, is_exact) {
  EXPECT_EQ(decimal_text(-5, 3), "-0.005");
  EXPECT_EQ(decimal_text(0, 2), "0.00");
  EXPECT_EQ(decimal_text(-(power_of_ten(38) - 1), 0), fmt::format("-{}", std::string(38, '9')));
  EXPECT_EQ(decimal_text(power_of_ten(38) - 1, 37), fmt::format("9.{}", std::string(37, '9')));
  for (const char* bad : {"", "-", ".", "1.2.3", "1e5", " 1", "1 ", "0x1", "--1"}) EXPECT_FALSE(parse_decimal(bad, 2)) << bad;
  EXPECT_FALSE(parse_decimal(fmt::format("1{}", std::string(38, '0')), 0));
  EXPECT_FALSE(parse_decimal(std::string(38, '9'), 1));
}

}  // namespace
}  // namespace snowmelt
