// One table through several connections at once, each with an encoder of its own.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "snowmelt/connections/postgres_connection.h"
#include "snowmelt/load/encoder_thread.h"

namespace snowmelt {

struct CopyCount {
  int64_t sent = 0;     // rows encoded
  int64_t counted = 0;  // by the server's command tags
};

// One COPY on one connection, in whatever transaction it is.
CopyCount copy_parts(PostgresConnection& connection, const std::string& copy_sql, const EncodeJob& job);

// A COPY on each connection, each in a transaction of its own that is committed. Of several value errors the one of the lowest
// rows is thrown: what lies below an offender is looked at to its end, though not sent. Any other failure ends all at once and
// is thrown. Throws once all have ended; what the others have committed is the caller's to drop.
CopyCount copy_parts_in_parallel(const std::vector<std::shared_ptr<PostgresConnection>>& connections, const std::string& copy_sql,
                                 const EncodeJob& job);

}  // namespace snowmelt
