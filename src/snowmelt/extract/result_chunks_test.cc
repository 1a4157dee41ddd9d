#include "snowmelt/extract/result_chunks.h"

#include <gtest/gtest.h>

#include <thread>

#include "snowmelt/extract/test_chunk_server.h"
#include "snowmelt/extract/wire_arrays.h"
#include "snowmelt/log.h"
#include "snowmelt/test_events.h"

namespace snowmelt {
namespace {

std::string text_of(const std::shared_ptr<arrow::Buffer>& buffer) { return buffer->ToString(); }

class ChunkDownloaderTest : public testing::Test {
 protected:
  static constexpr RetryPolicy kQuick{.attempts_max = 3, .pause_first_ms = 1, .pause_max_ms = 2};

  static ResultChunk chunk(const std::string& url) {
    ResultChunk result;
    result.url = url;
    return result;
  }
};

TEST_F(ChunkDownloaderTest, sends_the_headers_and_inflates_the_body) {
  std::string head;
  TestChunkServer server([&](const std::string&, const std::string& text) {
    head = text;
    return TestAnswer{.body = gzip("hello")};
  });
  ChunkDownloader downloader({}, kQuick, {});
  EXPECT_EQ(text_of(downloader.fetch(chunk(server.url("a?sig=1")), {{"x-amz-server-side-encryption-customer-key", "k"}})),
            "hello");
  EXPECT_NE(head.find("GET /a?sig=1 "), std::string::npos);
  EXPECT_NE(head.find("x-amz-server-side-encryption-customer-key: k\r\n"), std::string::npos);
  EXPECT_EQ(head.find("Authorization"), std::string::npos);
  EXPECT_EQ(head.find("Accept-Encoding"), std::string::npos);
}

TEST_F(ChunkDownloaderTest, passing_troubles_are_tried_again) {
  for (const TestAnswer& trouble : {TestAnswer{.status = 503}, TestAnswer{.status = 429}, TestAnswer{.status = 408},
                                    TestAnswer{.body = "hello", .cut_at = 2}, TestAnswer{.body = "hello", .cut_at = 0}}) {
    std::atomic<int> count{0};
    TestChunkServer server(
        [&](const std::string&, const std::string&) { return ++count < 3 ? trouble : TestAnswer{.body = gzip("hello")}; });
    ChunkDownloader downloader({}, kQuick, {});
    EXPECT_EQ(text_of(downloader.fetch(chunk(server.url("a")), {})), "hello");
    EXPECT_EQ(count, 3);
  }
}

TEST_F(ChunkDownloaderTest, gives_up_by_the_policy_without_showing_the_url) {
  TestChunkServer server([](const std::string&, const std::string&) { return TestAnswer{.status = 500}; });
  ChunkDownloader downloader({}, kQuick, {});
  try {
    downloader.fetch(chunk(server.url("bucket/path?X-Amz-Signature=topsecret")), {});
    FAIL();
  } catch (const ConnectionError& error) {
    EXPECT_EQ(error.code(), "chunk.unreachable");
    EXPECT_NE(std::string(error.what()).find("http://127.0.0.1"), std::string::npos);
    EXPECT_EQ(std::string(error.what()).find("topsecret"), std::string::npos);
    EXPECT_EQ(std::string(error.what()).find("bucket"), std::string::npos);
  }
  EXPECT_EQ(server.requests(), 3);
}

TEST_F(ChunkDownloaderTest, a_chunk_that_takes_too_long_in_all_is_given_up) {
  TestChunkServer server(
      [](const std::string&, const std::string&) { return TestAnswer{.body = gzip("hello"), .delay_ms = 400}; });
  HttpOptions options;
  options.time_max = std::chrono::milliseconds(150);
  ChunkDownloader downloader(options, {.attempts_max = 1'000, .pause_first_ms = 1, .pause_max_ms = 1}, {});
  try {
    downloader.fetch(chunk(server.url("a")), {});
    FAIL();
  } catch (const ConnectionError& error) {
    EXPECT_EQ(error.code(), "chunk.too_slow");
    EXPECT_NE(error.hint().find("chunk_time_max"), std::string::npos);
  }
}

TEST_F(ChunkDownloaderTest, an_expired_url_is_not_tried_again) {
  for (const int status : {400, 401, 403, 404, 410}) {
    TestChunkServer server([&](const std::string&, const std::string&) { return TestAnswer{.status = status}; });
    ChunkDownloader downloader({}, kQuick, {});
    EXPECT_THROW(downloader.fetch(chunk(server.url("a")), {}), ChunkUrlExpired) << status;
    EXPECT_EQ(server.requests(), 1);
  }
}

TEST_F(ChunkDownloaderTest, redirects_are_followed_a_few_times_on_the_same_host) {
  for (const int status : {301, 302, 303, 307, 308}) {
    TestChunkServer server([&](const std::string& path, const std::string& head) {
      EXPECT_NE(head.find("x-key: k\r\n"), std::string::npos);
      const int left = std::stoi(path);
      if (left == 0) return TestAnswer{.body = "end"};
      return TestAnswer{.status = status, .headers = "Location: /" + std::to_string(left - 1) + "\r\n"};
    });
    ChunkDownloader downloader({}, kQuick, {});
    EXPECT_EQ(text_of(downloader.fetch(chunk(server.url("3")), {{"x-key", "k"}})), "end");
    EXPECT_THROW(downloader.fetch(chunk(server.url("4")), {{"x-key", "k"}}), ConnectionError);
  }
}

TEST_F(ChunkDownloaderTest, no_redirect_leads_to_another_origin) {
  TestChunkServer other([](const std::string&, const std::string&) { return TestAnswer{.body = "not the chunk"}; });
  const std::string port = other.url("").substr(other.url("").rfind(':') + 1);
  for (const std::string& target : {other.url("a"), "https://127.0.0.1:" + port + "a", "http://localhost:" + port + "a",
                                    std::string("file:///etc/passwd"), std::string("//other.example/a"), std::string()}) {
    TestChunkServer server([&](const std::string&, const std::string&) {
      return TestAnswer{.status = 302, .headers = "Location: " + target + "\r\n"};
    });
    ChunkDownloader downloader({}, kQuick, {});
    try {
      downloader.fetch(chunk(server.url("a?sig=topsecret")), {{"x-amz-server-side-encryption-customer-key", "k"}});
      ADD_FAILURE() << target;
    } catch (const ConnectionError& error) {
      EXPECT_EQ(error.code(), "chunk.redirected") << target;
      EXPECT_EQ(std::string(error.what()).find("topsecret"), std::string::npos);
    }
    EXPECT_EQ(server.requests(), 1);
  }
  EXPECT_EQ(other.requests(), 0);
}

TEST_F(ChunkDownloaderTest, what_can_never_succeed_is_not_tried_again) {
  TestChunkServer plain([](const std::string&, const std::string&) { return TestAnswer{.body = "hello"}; });
  HttpOptions https;
  https.https_only = true;
  const std::string plain_url = plain.url("a?sig=topsecret");
  const std::vector<std::pair<HttpOptions, std::string>> attempts = {{https, plain_url},
                                                                     {{}, "https" + plain_url.substr(4)},
                                                                     {{}, "file:///etc/passwd"},
                                                                     {{}, "ftp://127.0.0.1/x"},
                                                                     {{}, "gopher://127.0.0.1/x"},
                                                                     {{}, ""},
                                                                     {{}, "http://"}};
  for (const auto& [options, url] : attempts) {
    ChunkDownloader downloader(options, kQuick, {});
    try {
      downloader.fetch(chunk(url), {});
      ADD_FAILURE() << url;
    } catch (const ConnectionError& error) {
      EXPECT_EQ(error.code(), "chunk.bad_address") << error.what();
      EXPECT_EQ(std::string(error.what()).find("topsecret"), std::string::npos);
      EXPECT_EQ(std::string(error.what()).find("passwd"), std::string::npos);
    }
  }
  EXPECT_EQ(plain.requests(), 0);
}

TEST_F(ChunkDownloaderTest, a_body_far_beyond_its_announced_size_is_not_read_to_the_end) {
  TestChunkServer server([](const std::string&, const std::string&) { return TestAnswer{.body = std::string(8 << 20, 'x')}; });
  ChunkDownloader downloader({}, kQuick, {});
  ResultChunk small = chunk(server.url("a"));
  small.compressed_size = small.uncompressed_size = 1'000;
  try {
    downloader.fetch(small, {});
    FAIL();
  } catch (const ChunkDamaged& error) {
    EXPECT_NE(error.message().find("where 1000 were announced"), std::string::npos) << error.what();
  }
  EXPECT_EQ(server.requests(), 1);
  // Storage that sends the inflated form where the compressed size was announced keeps to the larger of the two.
  small.uncompressed_size = 8 << 20;
  EXPECT_EQ(downloader.fetch(small, {})->size(), 8 << 20);
}

TEST_F(ChunkDownloaderTest, a_damaged_body_is_told_at_once) {
  TestChunkServer server([](const std::string&, const std::string&) { return TestAnswer{.body = gzip("hello").substr(0, 20)}; });
  ChunkDownloader downloader({}, {.attempts_max = 8, .pause_first_ms = 1, .pause_max_ms = 2}, {});
  EXPECT_THROW(downloader.fetch(chunk(server.url("a")), {}), ChunkDamaged);
  EXPECT_EQ(server.requests(), 1) << "the caller asks again, with the whole chunk's counts in hand";
}

TEST_F(ChunkDownloaderTest, a_server_that_is_not_there_is_a_connection_error) {
  ChunkDownloader downloader({}, kQuick, {});
  EXPECT_THROW(downloader.fetch(chunk("http://127.0.0.1:1/a"), {}), ConnectionError);
}

TEST_F(ChunkDownloaderTest, a_stop_request_ends_a_transfer_and_a_pause_at_once) {
  constexpr int kHour = 3'600'000;
  TestChunkServer slow([](const std::string&, const std::string&) { return TestAnswer{.body = "late", .delay_ms = kHour}; });
  TestChunkServer busy([](const std::string&, const std::string&) { return TestAnswer{.status = 503}; });
  std::atomic<bool> pauses{false};
  set_log_sink([&](LogLevel, std::string_view text) { pauses = pauses || text.find("fetched again") != std::string::npos; });
  for (const TestChunkServer* server : {&slow, &busy}) {
    std::stop_source stop;
    ChunkDownloader downloader({}, {.attempts_max = 3, .pause_first_ms = kHour, .pause_max_ms = kHour}, stop.get_token());
    std::jthread stopper([&] {
      EXPECT_TRUE(eventually([&] { return server == &slow ? slow.requests() == 1 : pauses.load(); }));
      stop.request_stop();
    });
    EXPECT_THROW(downloader.fetch(chunk(server->url("a")), {}), Interrupted);
  }
  set_log_sink({});
}

TEST_F(ChunkDownloaderTest, a_drip_is_given_up) {
  TestChunkServer server(
      [](const std::string&, const std::string&) { return TestAnswer{.body = "late", .delay_ms = 3'600'000}; });
  HttpOptions options;
  options.low_speed_time_s = 1;
  ChunkDownloader downloader(options, {.attempts_max = 1}, {});
  EXPECT_THROW(downloader.fetch(chunk(server.url("a")), {}), ConnectionError);
}

TEST(HttpOptions, come_from_the_configuration) {
  SnowflakeConfig config;
  EXPECT_TRUE(http_options(config).https_only);
  config.protocol = "http";
  EXPECT_FALSE(http_options(config).https_only);
  EXPECT_TRUE(http_options(config).proxy.empty());
  config.proxy_host = "proxy.example";
  config.proxy_port = 3128;
  EXPECT_EQ(http_options(config).proxy, "proxy.example:3128");
}

}  // namespace
}  // namespace snowmelt
