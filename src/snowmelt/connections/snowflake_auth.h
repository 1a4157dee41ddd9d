// How people log in to Snowflake: one table, one row a method.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "snowmelt/config.h"

namespace snowmelt {

// A key of [snowflake] and whether it is set.
struct AuthKey {
  std::string_view name;
  bool (*present)(const SnowflakeConfig& config);
};

struct AuthMethod {
  std::string_view authenticator;  // the value of the key; "https://" stands for every Okta address
  std::string_view title;          // for messages: "key pair"
  // Each inner list needs one of its keys ("token or token_file_path").
  std::vector<std::vector<AuthKey>> required;
  bool needs_browser = false;  // a person at a browser, unless a cached token serves
};

const std::vector<AuthMethod>& auth_methods();

// The method of this configuration. Throws ConfigurationError for an unknown authenticator (naming the known ones), a
// missing required key, or two keys that exclude each other: all without any network.
const AuthMethod& check_auth(const SnowflakeConfig& config);

}  // namespace snowmelt
