// `snowmelt login`: logs in once, so that the next processes find a kept login and ask nobody.
#pragma once

#include <stop_token>
#include <string>

#include "snowmelt/config.h"
#include "snowmelt/error.h"

namespace snowmelt {

struct LoginCommand {
  bool check = false;  // only tell whether a login without a person works
  bool json = false;
};

// Logs in, closes the session again, and returns what happened as text for stdout. Throws as a login does; with `check`,
// AuthenticationError "snowflake.person_needed" where somebody would have to act.
std::string login(const SnowflakeConfig& config, const LoginCommand& command, std::stop_token stop);

// The JSON of a login that failed: {"status": "failed", "error": {…}}.
std::string failed_login_json(const Error& error);

}  // namespace snowmelt
