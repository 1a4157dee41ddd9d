#include "snowmelt/foreign_error.h"

#include <new>
#include <system_error>

#include "snowmelt/error.h"

namespace snowmelt {

void rethrow_as_error(const std::string& bug_code) {
  try {
    throw;
  } catch (const Error&) {
    throw;
  } catch (const std::bad_alloc&) {
    throw FileError("memory.exhausted", "no memory left", {.hint = "lower [export] threads or memory_limit"});
  } catch (const std::system_error& error) {
    if (error.code() != std::errc::resource_unavailable_try_again) throw BugError(bug_code, error.what());
    throw FileError(
        "system.no_thread", "the system gives no further thread",
        {.hint = "raise the limit of processes (ulimit -u, or the container's), or lower [export] threads and downloads"});
  } catch (const std::exception& error) {
    throw BugError(bug_code, error.what(), {.hint = "please report this with the command and the log"});
  }
}

}  // namespace snowmelt
