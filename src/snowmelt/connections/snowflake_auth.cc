#include "snowmelt/connections/snowflake_auth.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>

#include "snowmelt/error.h"

namespace snowmelt {
namespace {

using Config = SnowflakeConfig;

const AuthKey kUser{"user", [](const Config& c) { return !c.user.empty(); }};
const AuthKey kPassword{"password", [](const Config& c) { return !c.password.empty(); }};
const AuthKey kToken{"token", [](const Config& c) { return !c.token.empty(); }};
const AuthKey kTokenFile{"token_file_path", [](const Config& c) { return !c.token_file_path.empty(); }};
const AuthKey kKeyFile{"private_key_file", [](const Config& c) { return !c.private_key_file.empty(); }};

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::tolower(c); });
  return text;
}

// "token or token_file_path"
std::string alternatives(const std::vector<AuthKey>& keys) {
  std::vector<std::string_view> names;
  for (const AuthKey& key : keys) names.push_back(key.name);
  return fmt::format("{}", fmt::join(names, " or "));
}

const AuthMethod& find_method(const Config& config) {
  const std::string wanted = lower(config.authenticator.empty() ? "snowflake" : config.authenticator);
  std::vector<std::string_view> known;
  for (const AuthMethod& method : auth_methods()) {
    if (wanted == method.authenticator) return method;
    if (method.authenticator == "https://" && wanted.starts_with(method.authenticator)) return method;
    known.push_back(method.authenticator);
  }
  throw ConfigurationError("config.unknown_authenticator", fmt::format("authenticator \"{}\" is not known", config.authenticator),
                           {.where = "[snowflake]", .hint = fmt::format("authenticator is one of {}", fmt::join(known, ", "))});
}

}  // namespace

const std::vector<AuthMethod>& auth_methods() {
  static const std::vector<AuthMethod> methods = {
      {"snowflake", "user name and password", {{kUser}, {kPassword}}},
      {"snowflake_jwt", "key pair", {{kUser}, {kKeyFile}}},
      // Without a user the driver neither keeps the id token nor shares one prompt between logins.
      {"externalbrowser", "single sign-on in the browser", {{kUser}}, true},
      {"programmatic_access_token", "programmatic access token", {{kUser}, {kToken, kTokenFile}}},
      {"oauth", "OAuth access token", {{kToken, kTokenFile}}},
      {"oauth_authorization_code", "OAuth in the browser", {{kUser}}, true},
      {"username_password_mfa", "user name, password and a second factor", {{kUser}, {kPassword}}},
      {"https://", "Okta", {{kUser}, {kPassword}}},
  };
  return methods;
}

const AuthMethod& check_auth(const SnowflakeConfig& config) {
  if (config.account.empty()) {
    throw ConfigurationError("config.missing_key", "account is missing",
                             {.where = "[snowflake]", .hint = "set account, as in https://<account>.snowflakecomputing.com"});
  }
  const AuthMethod& method = find_method(config);
  for (const std::vector<AuthKey>& keys : method.required) {
    if (std::any_of(keys.begin(), keys.end(), [&](const AuthKey& key) { return key.present(config); })) continue;
    throw ConfigurationError(
        "config.missing_key",
        fmt::format("authenticator \"{}\" ({}) needs {}", config.authenticator, method.title, alternatives(keys)),
        {.where = "[snowflake]", .hint = fmt::format("set {} or another authenticator", alternatives(keys))});
  }
  if (kToken.present(config) && kTokenFile.present(config)) {
    throw ConfigurationError("config.conflicting_keys", "token and token_file_path are both given",
                             {.where = "[snowflake]", .hint = "keep one of them"});
  }
  return method;
}

}  // namespace snowmelt
