// One owner a C handle, and nothing else in it. Only connections/ includes libpq.
#pragma once

#include <libpq-fe.h>

#include <memory>

namespace snowmelt {

struct PqFinish {
  void operator()(PGconn* connection) const noexcept { PQfinish(connection); }
};
struct PqClear {
  void operator()(PGresult* result) const noexcept { PQclear(result); }
};
struct PqFreeCancel {
  void operator()(PGcancel* cancel) const noexcept { PQfreeCancel(cancel); }
};
struct PqFreeOptions {
  void operator()(PQconninfoOption* options) const noexcept { PQconninfoFree(options); }
};
struct PqFreeMemory {
  void operator()(char* memory) const noexcept { PQfreemem(memory); }
};

using PgConnectionHandle = std::unique_ptr<PGconn, PqFinish>;
using PgResultHandle = std::unique_ptr<PGresult, PqClear>;
using PgOptionsHandle = std::unique_ptr<PQconninfoOption, PqFreeOptions>;
using PgMemoryHandle = std::unique_ptr<char, PqFreeMemory>;

}  // namespace snowmelt
