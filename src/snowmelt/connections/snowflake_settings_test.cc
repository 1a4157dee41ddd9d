#include "snowmelt/connections/snowflake_settings.h"

#include <gtest/gtest.h>

#include "snowmelt/error.h"

namespace snowmelt {
namespace {

SnowflakeConfig at(const std::string& protocol, const std::string& host) {
  SnowflakeConfig config;
  config.account = "myorg-acct";
  config.protocol = protocol;
  config.host = host;
  return config;
}

// The refusal's text; empty when it was taken.
std::string refusal(const SnowflakeConfig& config) {
  try {
    check_settings(config);
    return "";
  } catch (const ConfigurationError& error) {
    EXPECT_FALSE(error.hint().empty());
    return error.what();
  }
}

TEST(SnowflakeSettings, PlainHttpStaysOnThisMachine) {
  EXPECT_EQ(refusal(SnowflakeConfig{}), "");
  EXPECT_EQ(refusal(at("https", "")), "");
  for (const char* host : {"localhost", "127.0.0.1", "::1"}) EXPECT_EQ(refusal(at("http", host)), "") << host;
  EXPECT_NE(refusal(at("http", "")).find("in the clear to the account myorg-acct"), std::string::npos);
  EXPECT_NE(refusal(at("http", "127.example.com")).find("in the clear to 127.example.com"), std::string::npos);
  for (const char* word : {"ftp", "HTTP", "", "https ", "socks5"}) {
    EXPECT_NE(refusal(at(word, "127.0.0.1")).find("is not known"), std::string::npos) << word;
  }
}

TEST(SnowflakeSettings, OAuthAddressesCarrySecretsToo) {
  SnowflakeConfig config = at("https", "");
  config.oauth_token_request_url = "https://idp.example/token";
  config.oauth_authorization_url = "http://127.0.0.1:8000/authorize";
  EXPECT_EQ(refusal(config), "");
  config.oauth_token_request_url = "http://idp.example/token";
  EXPECT_NE(refusal(config).find("oauth_token_request_url is not an https address"), std::string::npos);
}

TEST(SnowflakeSettings, EverySessionHasNoRowLimit) {
  SnowflakeConfig config = at("https", "");
  config.session_parameters = {{"geography_output_format", "WKT"}, {"QUERY_TAG", "x"}};
  EXPECT_EQ(session_parameters(config), (std::map<std::string, std::string>{{"geography_output_format", "WKT"},
                                                                            {"GEOMETRY_OUTPUT_FORMAT", "EWKB"},
                                                                            {"QUERY_TAG", "x"},
                                                                            {"ROWS_PER_RESULTSET", "0"}}));
  config.session_parameters["rows_per_ResultSet"] = "0";
  EXPECT_NE(refusal(config).find("ROWS_PER_RESULTSET"), std::string::npos);
}

}  // namespace
}  // namespace snowmelt
