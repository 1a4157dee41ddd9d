#include "snowmelt/connections/person.h"

#include <unistd.h>

#include <cstdlib>

namespace snowmelt {
namespace {

bool is_set(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr && *value != '\0';
}

}  // namespace

std::string missing_of_a_person(LoginTime time) {
  if (::isatty(STDIN_FILENO) == 1 || ::isatty(STDERR_FILENO) == 1) return {};
  if (time == LoginTime::later) return "no terminal";
  // A Jupyter kernel knows its parent or its session; what it logs is shown beside the cell.
  for (const char* name : {"DISPLAY", "WAYLAND_DISPLAY", "BROWSER", "JPY_PARENT_PID", "JPY_SESSION_NAME"}) {
    if (is_set(name)) return {};
  }
  std::string missing = "no terminal, no DISPLAY or WAYLAND_DISPLAY, no BROWSER, no Jupyter kernel";
  if (!is_set("HOME")) missing += ", and no HOME to look for kept logins in";
  return missing;
}

}  // namespace snowmelt
