// What [snowflake] may ask for beyond the login (snowflake_auth.h), and what every session is opened with.
#pragma once

#include <map>
#include <string>

#include "snowmelt/config.h"

namespace snowmelt {

// Throws ConfigurationError for settings that would lose rows or send secrets in the clear.
void check_settings(const SnowflakeConfig& config);

// The user's session parameters and ours.
std::map<std::string, std::string> session_parameters(const SnowflakeConfig& config);

}  // namespace snowmelt
