// Which hosts are this machine itself: only there may a secret go unencrypted.
#pragma once

#include <string_view>

namespace snowmelt {

// True for "localhost" and for loopback addresses (127.0.0.0/8, ::1, also in brackets or as ::ffff:127.…). A name that only
// begins like one ("127.example.com") is no address.
bool is_loopback(std::string_view host);

// True for https, and for http to a loopback host. The address is read as far as its host only.
bool is_safe_address(std::string_view url);

}  // namespace snowmelt
