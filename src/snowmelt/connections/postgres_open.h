// From configuration to an open libpq connection: precedence of settings, the TLS rule, and login failures with their kind.
#pragma once

#include "snowmelt/config.h"
#include "snowmelt/connections/handles.h"

namespace snowmelt {

// Throws ConfigurationError, AuthenticationError or ConnectionError.
PgConnectionHandle connect_postgres(const PostgresConfig& config);

// True for a host that is reached without leaving the machine: a socket path, an empty host, localhost, a loopback address.
bool is_local_host(std::string_view host);

}  // namespace snowmelt
