// From configuration to an open libpq connection: precedence of settings, the TLS rule, and login failures with their kind.
#pragma once

#include <chrono>

#include "snowmelt/config.h"
#include "snowmelt/connections/handles.h"

namespace snowmelt {

using PostgresDeadline = std::chrono::steady_clock::time_point;

// Throws ConfigurationError, AuthenticationError or ConnectionError (code postgres.not_reached where time ran out).
// connect_timeout counts; `latest` ends it before that.
PgConnectionHandle connect_postgres(const PostgresConfig& config, PostgresDeadline latest = PostgresDeadline::max());

// True for a host that is reached without leaving the machine: a socket path, an empty host, localhost, a loopback address.
bool is_local_host(std::string_view host);

}  // namespace snowmelt
