#include "snowmelt/connections/loopback.h"

#include <gtest/gtest.h>

#include "snowmelt/connections/postgres_open.h"

namespace snowmelt {
namespace {

TEST(Loopback, IsAnAddressAndNotANameThatBeginsLikeOne) {
  for (const char* host :
       {"localhost", "LocalHost", "127.0.0.1", "127.1.2.3", "::1", "[::1]", "0:0:0:0:0:0:0:1", "::ffff:127.0.0.1"}) {
    EXPECT_TRUE(is_loopback(host)) << host;
    EXPECT_TRUE(is_local_host(host)) << host;
  }
  for (const char* host : {"127.example.com", "127.0.0.1.example.com", "localhost.example.com", "10.0.0.1", "128.0.0.1", "::2",
                           "[::1", "0x7f.1", "127.1", "127.0.0.1 "}) {
    EXPECT_FALSE(is_loopback(host)) << host;
    EXPECT_FALSE(is_local_host(host)) << host;
  }
  EXPECT_FALSE(is_loopback(""));
  EXPECT_FALSE(is_loopback(std::string_view("localhost\0.example", 18)));
  EXPECT_TRUE(is_local_host("/var/run/postgresql"));
}

TEST(Loopback, AnAddressIsSafeWithTlsOrOnThisMachine) {
  for (const char* url : {"https://a.example/x", "HTTPS://a.example", "http://localhost:80/x", "http://127.0.0.1",
                          "http://[::1]:8080/", "http://u:p@127.0.0.1/x"}) {
    EXPECT_TRUE(is_safe_address(url)) << url;
  }
  for (const char* url : {"", "https://", "http://", "http://a.example", "http://127.example.com/", "http://localhost@a.example/",
                          "ftp://localhost/", "javascript:alert(1)", "file:///etc/passwd"}) {
    EXPECT_FALSE(is_safe_address(url)) << url;
  }
}

}  // namespace
}  // namespace snowmelt
