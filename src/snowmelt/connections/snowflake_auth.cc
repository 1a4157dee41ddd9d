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
const AuthKey kClientId{"oauth_client_id", [](const Config& c) { return !c.oauth_client_id.empty(); }};
const AuthKey kClientSecret{"oauth_client_secret", [](const Config& c) { return !c.oauth_client_secret.empty(); }};
const AuthKey kTokenUrl{"oauth_token_request_url", [](const Config& c) { return !c.oauth_token_request_url.empty(); }};
const AuthKey kProvider{"workload_identity_provider", [](const Config& c) { return !c.workload_identity_provider.empty(); }};

// Snowflake itself knows a client for everybody, another identity provider does not.
bool snowflake_gives_tokens(const Config& c) { return c.oauth_authorization_url.empty() && c.oauth_token_request_url.empty(); }
const AuthKey kForeignClientId{"oauth_client_id",
                               [](const Config& c) { return !c.oauth_client_id.empty() || snowflake_gives_tokens(c); }};
// One half of the pair alone is a slip.
const AuthKey kMatchingSecret{"oauth_client_secret",
                              [](const Config& c) { return !c.oauth_client_secret.empty() || c.oauth_client_id.empty(); }};
const AuthKey kMatchingId{"oauth_client_id",
                          [](const Config& c) { return !c.oauth_client_id.empty() || c.oauth_client_secret.empty(); }};

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

// What the provider's own machines tell about themselves is found without keys; OIDC's token is not.
void check_workload_identity(const Config& config) {
  constexpr std::string_view kProviders[] = {"aws", "azure", "gcp", "oidc"};
  const std::string provider = lower(config.workload_identity_provider);
  if (std::find(std::begin(kProviders), std::end(kProviders), provider) == std::end(kProviders)) {
    throw ConfigurationError("config.invalid",
                             fmt::format("workload_identity_provider \"{}\" is not known", config.workload_identity_provider),
                             {.where = "[snowflake]", .hint = "workload_identity_provider is one of AWS, AZURE, GCP, OIDC"});
  }
  if (provider == "oidc" && !kToken.present(config) && !kTokenFile.present(config)) {
    throw ConfigurationError("config.missing_key", "workload_identity_provider \"OIDC\" needs token or token_file_path",
                             {.where = "[snowflake]", .hint = "set token or token_file_path, or another provider"});
  }
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
      {"oauth_authorization_code", "OAuth in the browser", {{kUser}, {kForeignClientId}, {kMatchingId}, {kMatchingSecret}}, true},
      {"oauth_client_credentials", "OAuth client credentials", {{kClientId}, {kClientSecret}, {kTokenUrl}}},
      {"workload_identity", "workload identity", {{kProvider}}},
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
  if (method.authenticator == "workload_identity") check_workload_identity(config);
  return method;
}

}  // namespace snowmelt
