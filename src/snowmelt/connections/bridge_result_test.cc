// What a server says of its result, honest or not.
#include "snowmelt/connections/bridge_result.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "snowmelt/error.h"

namespace snowmelt {
namespace {

using Json = nlohmann::json;

Json chunk(const std::string& url, int64_t rows, int64_t uncompressed = 900, int64_t compressed = 300) {
  return {{"url", url}, {"row_count", rows}, {"uncompressed_size", uncompressed}, {"compressed_size", compressed}};
}

Json answer(int64_t total) {
  return {
      {"query_id", "q1"},          {"total", total},          {"statement_type_id", 0x1000}, {"format", "json"},
      {"row_type", Json::array()}, {"rowset", Json::array()}, {"chunks", Json::array()},     {"chunk_headers", Json::object()}};
}

// The refusal's text; empty when it was taken.
std::string refusal(const Json& text, RowCheck check = RowCheck::all_rows) {
  try {
    parse_result(text, "acct", check);
    return "";
  } catch (const VerificationError& error) {
    EXPECT_EQ(error.query_id(), "q1");
    EXPECT_EQ(error.where(), "acct");
    EXPECT_FALSE(error.hint().empty());
    return error.what();
  }
}

TEST(BridgeResult, ALimitedResultIsRefusedByTheParametersName) {
  Json text = answer(1'000);
  EXPECT_EQ(refusal(text), "");
  text["returned"] = nullptr;
  EXPECT_EQ(refusal(text), "");
  text["returned"] = 1'000;
  text["row_limit"] = "0";
  EXPECT_EQ(refusal(text), "");
  text["row_limit"] = "1000";
  EXPECT_NE(refusal(text).find("ROWS_PER_RESULTSET is 1000"), std::string::npos);
  EXPECT_EQ(refusal(text, RowCheck::described), "");
  text["row_limit"] = "";
  text["returned"] = 10;
  EXPECT_NE(refusal(text).find("10 of 1000 rows, which is what ROWS_PER_RESULTSET"), std::string::npos);
}

TEST(BridgeResult, AServerThatCountsTheInlineRowsAloneHasThemAll) {
  Json text = answer(100);
  text["chunks"] = Json::array({chunk("https://h/a?s=1", 90)});
  text["returned"] = 10;
  EXPECT_EQ(refusal(text), "");
  text["returned"] = 11;
  EXPECT_NE(refusal(text).find("ROWS_PER_RESULTSET"), std::string::npos);
}

TEST(BridgeResult, NumbersThatCannotBe) {
  EXPECT_NE(refusal(answer(-1)).find("a total of -1 rows"), std::string::npos);
  EXPECT_NE(refusal(answer(INT64_MAX)).find("a total of"), std::string::npos);
  Json text = answer(100);
  const auto with = [&](Json one) {
    text["chunks"] = Json::array({std::move(one)});
    return refusal(text);
  };
  EXPECT_EQ(with(chunk("https://h/a", 100)), "");
  EXPECT_EQ(with(chunk("https://h/a", 0, 0, 0)), "");
  EXPECT_NE(with(chunk("https://h/a", -1)).find("row_count -1"), std::string::npos);
  EXPECT_NE(with(chunk("https://h/a", 101)).find("row_count 101"), std::string::npos);
  EXPECT_NE(with(chunk("https://h/a", 1, -5)).find("uncompressed_size -5"), std::string::npos);
  EXPECT_NE(with(chunk("https://h/a", 1, 5, -5)).find("compressed_size -5"), std::string::npos);
  EXPECT_NE(with(chunk("https://h/a", 1, 5, INT64_MAX)).find("compressed_size"), std::string::npos);
  text["chunks"] = Json::array({chunk("https://h/a", 60), chunk("https://h/b", 40)});
  EXPECT_EQ(refusal(text), "");
  text["chunks"] = Json::array({chunk("https://h/a", 60), chunk("https://h/b", 41)});
  EXPECT_NE(refusal(text).find("row_count 41"), std::string::npos) << "more than are left of the total";
}

TEST(BridgeResult, NumbersThatWouldBeCut) {
  Json text = answer(1);
  text["total"] = 1.5;
  EXPECT_NE(refusal(text).find("total is not a whole number"), std::string::npos);
  text["total"] = uint64_t{1} << 63;
  EXPECT_NE(refusal(text).find("total is not a whole number of 64 bits"), std::string::npos);
  for (const Json& number : {Json(7.7e19), Json(int64_t{1} << 40), Json(-(int64_t{1} << 40)), Json(2.5)}) {
    for (const char* key : {"precision", "scale", "vectorDimension"}) {
      text = answer(1);
      text["row_type"] = Json::array({{{"name", "C"}, {"type", "fixed"}, {key, number}}});
      EXPECT_NE(refusal(text).find(key), std::string::npos) << key << " " << number;
    }
  }
}

TEST(BridgeResult, OneAddressForTwoChunks) {
  Json text = answer(100);
  text["chunks"] = Json::array({chunk("https://h/a?s=1", 50), chunk("https://h/b?s=1", 50)});
  EXPECT_EQ(refusal(text), "");
  text["chunks"][1]["url"] = "https://h/a?s=2";
  EXPECT_NE(refusal(text).find("chunk 2 has the address of an earlier one"), std::string::npos);
  text["chunks"][1]["url"] = "";
  EXPECT_NE(refusal(text).find("chunk 2 has no address"), std::string::npos);
}

TEST(BridgeResult, LineBreaksInAddressesAndHeaders) {
  Json text = answer(1);
  text["chunks"] = Json::array({chunk("https://h/a?s=1\r\nHost: other", 1)});
  EXPECT_NE(refusal(text).find("line break"), std::string::npos);
  text["chunks"] = Json::array({chunk(std::string("https://h/a\0b", 13), 1)});
  EXPECT_NE(refusal(text).find("line break"), std::string::npos);
  text["chunks"] = Json::array({chunk("https://h/a", 1)});
  for (const auto& [name, value] : std::map<std::string, std::string>{
           {"x-key", "a\r\nHost: other"}, {"x-key\r\nHost", "other"}, {"", "a"}, {"x key", "a"}, {"x:key", "a"}}) {
    text["chunk_headers"] = {{name, value}};
    EXPECT_NE(refusal(text).find("chunk header"), std::string::npos) << name;
  }
  text["chunk_headers"] = {{"x-amz-server-side-encryption-customer-key", "a2tr/+=="}};
  EXPECT_EQ(refusal(text), "");
}

TEST(BridgeResult, TypesNestedWithoutEnd) {
  Json type = {{"name", "C"}, {"type", "text"}};
  for (int i = 0; i < 150; ++i) type = {{"name", "C"}, {"type", "object"}, {"fields", Json::array({type})}};
  Json text = answer(0);
  text["row_type"] = Json::array({type});
  EXPECT_NE(refusal(text).find("nested deeper"), std::string::npos);
}

TEST(BridgeResult, AnotherShapeIsTheServersFault) {
  EXPECT_THROW(parse_result(Json::object(), "acct", RowCheck::all_rows), VerificationError);
  Json text = answer(1);
  text["total"] = "1";
  EXPECT_THROW(parse_result(text, "acct", RowCheck::all_rows), VerificationError);
}

}  // namespace
}  // namespace snowmelt
