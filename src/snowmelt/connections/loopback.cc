#include "snowmelt/connections/loopback.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <strings.h>

#include <string>

namespace snowmelt {

bool is_loopback(std::string_view host) {
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);
  if (host.find('\0') != std::string_view::npos) return false;
  const std::string text(host);
  if (::strcasecmp(text.c_str(), "localhost") == 0) return true;
  in_addr four{};
  if (::inet_pton(AF_INET, text.c_str(), &four) == 1) return (ntohl(four.s_addr) >> 24) == 127;
  in6_addr six{};
  if (::inet_pton(AF_INET6, text.c_str(), &six) != 1) return false;
  return IN6_IS_ADDR_LOOPBACK(&six) || (IN6_IS_ADDR_V4MAPPED(&six) && six.s6_addr[12] == 127);
}

bool is_safe_address(std::string_view url) {
  const auto has = [&](const char* scheme, size_t size) {
    return url.size() > size && ::strncasecmp(url.data(), scheme, size) == 0;
  };
  if (has("https://", 8)) return true;
  if (!has("http://", 7)) return false;
  std::string_view host = url.substr(7, url.find_first_of("/?#", 7) - 7);
  if (const size_t at = host.rfind('@'); at != std::string_view::npos) host.remove_prefix(at + 1);
  const size_t port = host.rfind(':');
  if (port != std::string_view::npos && host.find(']', port) == std::string_view::npos) host = host.substr(0, port);
  return is_loopback(host);
}

}  // namespace snowmelt
