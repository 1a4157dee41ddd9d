#include "snowmelt/connections/snowflake_settings.h"

#include <fmt/format.h>
#include <strings.h>

#include <utility>

#include "snowmelt/connections/loopback.h"
#include "snowmelt/error.h"

namespace snowmelt {
namespace {

bool same_name(const std::string& a, const char* b) { return ::strcasecmp(a.c_str(), b) == 0; }

// 0 is "no limit" whatever the account's or the user's default is; a limit would end every table early.
constexpr const char* kRowLimit = "ROWS_PER_RESULTSET";

// Over http, password and tokens could be read by everybody on the way.
void check_protocol(const SnowflakeConfig& config) {
  const std::string& protocol = config.protocol;
  if (protocol != "https" && protocol != "http") {
    throw ConfigurationError(
        "config.invalid", fmt::format("protocol \"{}\" is not known", protocol),
        {.where = "[snowflake] protocol", .hint = "protocol is https, or http for a server on this machine"});
  }
  if (protocol == "http" && !is_loopback(config.host)) {
    throw ConfigurationError("config.insecure",
                             fmt::format("protocol http would send secrets in the clear to {}",
                                         config.host.empty() ? "the account " + config.account : config.host),
                             {.where = "[snowflake] protocol",
                              .hint = "remove protocol (also SNOWFLAKE_PROTOCOL), or set host to a loopback address"});
  }
  for (const auto& [key, address] :
       {std::pair<const char*, const std::string&>{"oauth_authorization_url", config.oauth_authorization_url},
        {"oauth_token_request_url", config.oauth_token_request_url}}) {
    if (address.empty() || is_safe_address(address)) continue;
    throw ConfigurationError(
        "config.insecure", fmt::format("{} is not an https address", key),
        {.where = fmt::format("[snowflake] {}", key), .hint = "use https; http goes to a loopback address only"});
  }
}

}  // namespace

void check_settings(const SnowflakeConfig& config) {
  check_protocol(config);
  for (const auto& [name, value] : config.session_parameters) {
    if (!same_name(name, kRowLimit)) continue;
    throw ConfigurationError("config.invalid", fmt::format("{} would end every result after so many rows", kRowLimit),
                             {.where = "[snowflake] session_parameters",
                              .hint = fmt::format("remove {}; to move part of a table use query with a limit", kRowLimit)});
  }
}

std::map<std::string, std::string> session_parameters(const SnowflakeConfig& config) {
  std::map<std::string, std::string> parameters = config.session_parameters;
  // EWKB keeps every bit of a coordinate and the SRID; Snowflake's default, GeoJSON, has no SRID. The user's own words win.
  for (const char* format : {"GEOGRAPHY_OUTPUT_FORMAT", "GEOMETRY_OUTPUT_FORMAT"}) {
    bool given = false;
    for (const auto& [name, value] : parameters) given = given || same_name(name, format);
    if (!given) parameters[format] = "EWKB";
  }
  parameters[kRowLimit] = "0";
  return parameters;
}

}  // namespace snowmelt
