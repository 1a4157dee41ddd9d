// Text from servers and files, before a terminal sees it.
#pragma once

#include <string>
#include <string_view>

namespace snowmelt {

// Control characters (C0, DEL, C1), bytes that are not UTF-8, and the marks that turn the reading direction become \x1b or
// \u202e: none of them moves a cursor, sets a title or hides a word. Tabs and line ends stay; each line but the first begins with
// `indent`, so that no text makes a line that looks like one of ours.
std::string printable(std::string_view text, std::string_view indent);

}  // namespace snowmelt
