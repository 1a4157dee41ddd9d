// From configuration to an open libpq connection: precedence of settings, the TLS rule, and login failures with their kind.
#pragma once

#include <chrono>
#include <stop_token>

#include "snowmelt/config.h"
#include "snowmelt/connections/handles.h"

namespace snowmelt {

// What ends the wait for a connection before connect_timeout does.
struct ConnectLimits {
  std::chrono::steady_clock::time_point latest = std::chrono::steady_clock::time_point::max();
  std::stop_token stop{};
};

// Throws ConfigurationError, AuthenticationError, ConnectionError (code postgres.not_reached where time ran out) or Interrupted.
PgConnectionHandle connect_postgres(const PostgresConfig& config, const ConnectLimits& limits = {});

// True for a host that is reached without leaving the machine: a socket path, an empty host, localhost, a loopback address.
bool is_local_host(std::string_view host);

}  // namespace snowmelt
