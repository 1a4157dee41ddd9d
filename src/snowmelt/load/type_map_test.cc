#include "snowmelt/load/type_map.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>

#include "snowmelt/error.h"

namespace snowmelt {
namespace {

struct Default {
  std::shared_ptr<arrow::DataType> arrow;
  SourceType source;
  const char* ddl;
};

TEST(TypeMap, NewTablesGetTheDocumentedTypes) {
  const std::vector<Default> cases{
      {arrow::int64(), "NUMBER(4,0)", "smallint"},
      {arrow::int64(), "NUMBER(9,0)", "integer"},
      {arrow::int64(), "NUMBER(10,0)", "bigint"},
      {arrow::int64(), "NUMBER(38,0)", "bigint"},
      {arrow::decimal128(38, 0), "NUMBER(38,0)", "numeric(38,0)"},
      {arrow::decimal64(12, 2), "NUMBER(12,2)", "numeric(12,2)"},
      {arrow::float64(), "FLOAT", "double precision"},
      {arrow::utf8(), "TEXT", "text"},
      {arrow::utf8(), "VARIANT", "jsonb"},
      {arrow::utf8(), "OBJECT", "jsonb"},
      {arrow::utf8(), "ARRAY", "jsonb"},
      {arrow::utf8(), "DECFLOAT", "numeric"},
      {arrow::utf8(), "UUID", "uuid"},
      {arrow::boolean(), "BOOLEAN", "boolean"},
      {arrow::date32(), "DATE", "date"},
      {arrow::time64(arrow::TimeUnit::MICRO), "TIME(6)", "time"},
      {arrow::timestamp(arrow::TimeUnit::MICRO), "TIMESTAMP_NTZ(9)", "timestamp"},
      {arrow::timestamp(arrow::TimeUnit::MICRO, "UTC"), "TIMESTAMP_TZ(9)", "timestamp with time zone"},
      {arrow::binary(), "BINARY", "bytea"},
      {arrow::list(arrow::float32()), "VECTOR", "real[]"},
      {arrow::list(arrow::int32()), "VECTOR(INT,3)", "integer[]"},
      {arrow::utf8(), "INTERVAL_YEAR_MONTH", "interval"},
      {arrow::utf8(), "INTERVAL_DAY_TIME", "interval"},
      {arrow::duration(arrow::TimeUnit::MICRO), "", "interval"},
      {arrow::fixed_size_binary(12), "INTERVAL", "interval"},
      {arrow::fixed_size_binary(16), "UUID", "uuid"},
      {arrow::binary(), "GEOMETRY", "bytea"},
      {arrow::utf8(), "GEOGRAPHY", "text"},
      {arrow::uint64(), "", "numeric(20,0)"},
      {arrow::int32(), "", "integer"},
  };
  for (const Default& c : cases) {
    const auto schema = arrow::schema({arrow::field("C", c.arrow)});
    const auto columns = plan_new_table(*schema, {{"C", c.source, false}}, IntegerMode::bigint);
    EXPECT_EQ(columns.at(0).type, c.ddl) << c.source.text() << " " << c.arrow->ToString();
    EXPECT_EQ(columns.at(0).name, "c");
    EXPECT_TRUE(columns.at(0).not_null);
  }
}

TEST(TypeMap, ExtensionsGiveNewTablesTheirTypes) {
  const auto schema =
      arrow::schema({arrow::field("V", arrow::list(arrow::float32())), arrow::field("W", arrow::list(arrow::float32())),
                     arrow::field("G", arrow::binary()), arrow::field("H", arrow::binary())});
  const std::vector<SourceColumn> source{{"V", "VECTOR(FLOAT,3)"}, {"W", "VECTOR"}, {"G", "GEOGRAPHY"}, {"H", "GEOMETRY"}};
  const auto columns = plan_new_table(*schema, source, IntegerMode::bigint, {},
                                      {.vector = "ext.vector", .geometry = "geometry", .geography = "geography"});
  EXPECT_EQ(columns[0].type, "ext.vector(3)");
  EXPECT_EQ(columns[1].type, "ext.vector");
  EXPECT_EQ(columns[2].type, "geography");
  EXPECT_EQ(columns[3].type, "geometry");
}

std::string refusal(const auto& call) {
  try {
    call();
  } catch (const ValueError& error) {
    return error.what();
  }
  return "nothing was refused";
}

// search_path may find another type of these names first. Keywords mean one thing only, and what people read stays short.
TEST(TypeMap, NamesOfOursAreQualifiedInDdl) {
  const auto schema = arrow::schema(
      {arrow::field("T", arrow::utf8()), arrow::field("D", arrow::date32()), arrow::field("J", arrow::utf8()),
       arrow::field("U", arrow::utf8()), arrow::field("B", arrow::binary()), arrow::field("L", arrow::list(arrow::utf8())),
       arrow::field("N", arrow::int64()), arrow::field("Z", arrow::timestamp(arrow::TimeUnit::MICRO, "UTC")),
       arrow::field("V", arrow::list(arrow::float32())), arrow::field("OWN", arrow::utf8())});
  const std::vector<SourceColumn> source{{"T", "TEXT"},
                                         {"D", "DATE"},
                                         {"J", "VARIANT"},
                                         {"U", "UUID"},
                                         {"B", "BINARY"},
                                         {"L", {}},
                                         {"N", "NUMBER(38,0)"},
                                         {"Z", "TIMESTAMP_TZ(9)"},
                                         {"V", "VECTOR(FLOAT,3)"},
                                         {"OWN", "TEXT"}};
  const auto columns = plan_new_table(*schema, source, IntegerMode::bigint, {{"own", "text"}}, {.vector = "ext.vector"});
  const std::pair<const char*, const char*> expected[] = {{"text", "pg_catalog.text"},
                                                          {"date", "pg_catalog.date"},
                                                          {"jsonb", "pg_catalog.jsonb"},
                                                          {"uuid", "pg_catalog.uuid"},
                                                          {"bytea", "pg_catalog.bytea"},
                                                          {"text[]", "pg_catalog.text[]"},
                                                          {"bigint", "bigint"},
                                                          {"timestamp with time zone", "timestamp with time zone"},
                                                          {"ext.vector(3)", "ext.vector(3)"},
                                                          {"text", "text"}};
  for (size_t i = 0; i < columns.size(); ++i) {
    EXPECT_EQ(columns[i].type, expected[i].first);
    EXPECT_EQ(columns[i].ddl(), expected[i].second);
    EXPECT_EQ(columns[i].chosen, i == 9);
  }
}

TEST(TypeMap, AProgramsTypesAreTypesToo) {
  const auto schema = arrow::schema({arrow::field("A", arrow::int64())});
  EXPECT_EQ(plan_new_table(*schema, {}, IntegerMode::bigint, {{"a", "NUMERIC (10, 2)"}}).at(0).type, "numeric(10,2)");
  for (const char* wrong : {"int primary key", "int); drop table t; --", "int default now()", ""}) {
    try {
      plan_new_table(*schema, {}, IntegerMode::bigint, {{"a", wrong}});
      ADD_FAILURE() << wrong;
    } catch (const ConfigurationError& error) {
      EXPECT_NE(std::string(error.what()).find("is not a PostgreSQL type"), std::string::npos) << error.what();
      EXPECT_NE(error.where().find("column A"), std::string::npos) << error.what();
    }
  }
}

std::shared_ptr<arrow::Schema> many(int count, const std::shared_ptr<arrow::DataType>& type, bool nullable) {
  arrow::FieldVector fields;
  for (int i = 0; i < count; ++i) fields.push_back(arrow::field("C" + std::to_string(i), type, nullable));
  return arrow::schema(std::move(fields));
}

TEST(TypeMap, ARowBeyondAPageIsRefusedByTheColumns) {
  const auto plan = [](const arrow::Schema& schema, const std::map<std::string, std::string>& types = {}) {
    return plan_new_table(schema, {}, IntegerMode::bigint, types).size();
  };
  // 24 bytes of header and 8 each; tests/test_foreign_files.py asks the server.
  EXPECT_EQ(plan(*many(1017, arrow::int64(), false)), 1017u);
  try {
    plan(*many(1018, arrow::int64(), false));
    ADD_FAILURE() << "1,018 columns were planned";
  } catch (const ValueError& error) {
    const std::string text = error.what();
    EXPECT_EQ(error.code(), "types.row_too_wide");
    EXPECT_NE(text.find("takes 8168 bytes"), std::string::npos) << text;
    EXPECT_NE(text.find("1018 columns are NOT NULL and of fixed width (C0, C1, C2 and 1015 more)"), std::string::npos) << text;
    EXPECT_NE(text.find("drop = ["), std::string::npos) << text;
  }
  EXPECT_EQ(plan(*many(1600, arrow::int64(), true)), 1600u) << "NULLs take no room";
  EXPECT_EQ(plan(*many(1600, arrow::int32(), false)), 1600u);
  EXPECT_EQ(plan(*many(1600, arrow::utf8(), false)), 1600u) << "long texts move out of the row";
  EXPECT_EQ(plan(*many(1018, arrow::int64(), false), {{"c0", "integer"}, {"c1", "int4"}}), 1018u);
  // The bitmap counts where there are NULLs: 23 + 128 bytes of header.
  auto fields = many(1001, arrow::int64(), false)->fields();
  for (int i = 0; i < 17; ++i) fields.push_back(arrow::field("N" + std::to_string(i), arrow::int64(), true));
  EXPECT_EQ(plan(*arrow::schema(fields)), 1018u);
  fields.push_back(arrow::field("ONE", arrow::int64(), false));
  EXPECT_THROW(plan(*arrow::schema(fields)), ValueError);
  EXPECT_THROW(plan(*many(540, arrow::duration(arrow::TimeUnit::MICRO), false)), ValueError);  // interval: 16 bytes
}

TEST(TypeMap, NamesThatCannotBeUsedAreAllNamed) {
  const auto schema = arrow::schema({arrow::field("A", arrow::int64()), arrow::field("a", arrow::int64()),
                                     arrow::field("CTID", arrow::int64()), arrow::field(std::string(64, 'x'), arrow::int64())});
  const std::string text = refusal([&] { plan_new_table(*schema, {}, IntegerMode::bigint); });
  EXPECT_NE(text.find("two columns are called a"), std::string::npos) << text;
  EXPECT_NE(text.find("ctid"), std::string::npos);
  EXPECT_NE(text.find("longer than 63 bytes"), std::string::npos);
  // The remedy is ready to be pasted; the short name is the same in every run.
  EXPECT_NE(text.find("rename = { \"a\" = \"a_2\", \"CTID\" = \"ctid_\", \"xxx"), std::string::npos) << text;
  const auto unknown = arrow::schema({arrow::field("A", arrow::month_interval()), arrow::field("a", arrow::int64())});
  const std::string both = refusal([&] {
    plan_new_table(*arrow::schema({unknown->field(0), unknown->field(1), unknown->field(1)}), {}, IntegerMode::bigint);
  });
  EXPECT_NE(both.find("column A has the type month_interval"), std::string::npos) << both;
  EXPECT_NE(both.find("two columns are called a"), std::string::npos) << both;
}

TEST(TypeMap, EveryProblemWithAnExistingTableIsNamedAtOnce) {
  const auto schema =
      arrow::schema({arrow::field("N", arrow::utf8()), arrow::field("MISSING", arrow::int64()),
                     arrow::field("T", arrow::timestamp(arrow::TimeUnit::MICRO)), arrow::field("G", arrow::int64())});
  const std::vector<TargetColumn> target{{.name = "n", .type = "integer", .type_oid = 23},
                                         {.name = "t", .type = "timestamp with time zone", .type_oid = 1184},
                                         {.name = "g", .type = "bigint", .type_oid = 20, .generated = true},
                                         {.name = "needed", .type = "text", .type_oid = 25, .not_null = true}};
  const std::string text = refusal([&] { map_columns(*schema, {}, target, "public.t"); });
  for (const char* part :
       {"column n of type integer cannot hold string", "no column missing", "column t of type timestamp with time zone",
        "column g is generated", "column needed is NOT NULL", "table public.t"}) {
    EXPECT_NE(text.find(part), std::string::npos) << part << "\n" << text;
  }
}

TEST(TypeMap, ColumnsAreFoundByNameWhateverTheirOrder) {
  const auto schema = arrow::schema({arrow::field("B", arrow::int64()), arrow::field("Mixed", arrow::utf8())});
  const std::vector<TargetColumn> target{
      {.name = "mixed", .type_oid = 25}, {.name = "extra", .type_oid = 25}, {.name = "b", .type_oid = 20}};
  const auto columns = map_columns(*schema, {}, target, "t");
  ASSERT_EQ(columns.size(), 2u);
  EXPECT_EQ(columns[0].name, "b");
  EXPECT_EQ(columns[1].name, "mixed");
}

}  // namespace
}  // namespace snowmelt
