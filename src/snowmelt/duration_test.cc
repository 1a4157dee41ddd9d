#include "snowmelt/duration.h"

#include <gtest/gtest.h>

#include <utility>

namespace snowmelt {
namespace {

using std::chrono::milliseconds;

TEST(Duration, IsANumberWithAUnit) {
  const std::pair<const char*, int64_t> cases[] = {
      {"500ms", 500}, {"90s", 90'000}, {"10m", 600'000}, {"1h", 3'600'000},       {"30", 30'000},
      {"0", 0},       {"0s", 0},       {"007s", 7'000},  {"596h", 2'145'600'000}, {"2147483647ms", 2'147'483'647}};
  for (const auto& [text, expected] : cases) EXPECT_EQ(parse_duration(text), milliseconds(expected)) << text;
}

TEST(Duration, RefusesAllElse) {
  const char* const cases[] = {
      "",   " ",  "s",     "m10",  "-1",    "-1s",  "+1s",          "1.5h",        "1 h", "1h ",        " 1h",
      "1d", "1H", "1h30m", "1e3s", "0x10s", "597h", "2147483648ms", "4294967296s", "inf", "1\xC2\xA0s", "99999999999999999999"};
  for (const char* text : cases) EXPECT_EQ(parse_duration(text), std::nullopt) << text;
}

TEST(Duration, IsWrittenInTheLargestUnitThatIsExact) {
  const std::pair<int64_t, const char*> cases[] = {{0, "0s"},          {1, "1ms"},        {1'500, "1500ms"},
                                                   {2'000, "2s"},      {90'000, "90s"},   {600'000, "10m"},
                                                   {5'400'000, "90m"}, {7'200'000, "2h"}, {2'147'483'647, "2147483647ms"}};
  for (const auto& [count, text] : cases) {
    EXPECT_EQ(duration_text(milliseconds(count)), text);
    EXPECT_EQ(parse_duration(text), milliseconds(count));
  }
}

}  // namespace
}  // namespace snowmelt
