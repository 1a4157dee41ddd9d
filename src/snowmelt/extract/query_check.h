// A query of [[table]] gives rows and changes nothing: where a session is lost it runs a second time.
#pragma once

#include <stop_token>
#include <string>

#include "snowmelt/connections/source_session.h"

namespace snowmelt {

// Asks the server what kind of statement `query` is, without running it. Throws ConfigurationError for one that is not known to
// give rows and change nothing, and QueryError where Snowflake refuses it. A source that cannot tell (a mock) is believed.
void check_query(SourceSession& source, const std::string& query, const std::stop_token& stop);

}  // namespace snowmelt
