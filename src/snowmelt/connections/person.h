// Whether a person is there who could answer a login.
#pragma once

#include <string>

namespace snowmelt {

// The first login comes while whoever started the program may still be there; a session that is lost in the night does not.
enum class LoginTime { first, later };

// Empty where somebody is there: a terminal (stdin or stderr) says so at any time, for the first login also DISPLAY,
// WAYLAND_DISPLAY, BROWSER or a Jupyter kernel. Else a list of what is missing, for people. HOME is in it where it is missing
// too: kept logins lie under it.
std::string missing_of_a_person(LoginTime time);

}  // namespace snowmelt
