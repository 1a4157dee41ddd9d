// What other libraries throw, as errors of ours.
#pragma once

#include <string>

namespace snowmelt {

// Inside a catch block: throws the current exception as it is if it is an Error. What this machine could not give (memory, a
// thread) becomes a FileError, anything else our bug of this code.
[[noreturn]] void rethrow_as_error(const std::string& bug_code = "bug.unexpected");

}  // namespace snowmelt
