// For tests: the server that SNOWMELT_TEST_POSTGRES names.
#pragma once

#include <cstdlib>
#include <optional>

#include "snowmelt/config.h"

namespace snowmelt {

inline constexpr const char* kNoTestServer = "needs a server: SNOWMELT_TEST_POSTGRES names none";

inline std::optional<PostgresConfig> test_postgres() {
  const char* server = std::getenv("SNOWMELT_TEST_POSTGRES");
  if (server == nullptr) return std::nullopt;
  PostgresConfig config;
  config.uri = Secret(server);
  return config;
}

}  // namespace snowmelt
