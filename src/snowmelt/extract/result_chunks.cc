#include "snowmelt/extract/result_chunks.h"

#include <curl/curl.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdlib>
#include <optional>
#include <random>

#include "snowmelt/duration.h"
#include "snowmelt/log.h"
#include "snowmelt/stoppable_pause.h"

namespace snowmelt {
namespace {

constexpr int64_t kBodyBytesMax = int64_t{2} << 30;  // Snowflake's largest chunks are some 160 MB
constexpr int64_t kBodySlackBytes = 1 << 20;
constexpr int64_t kReserveBytesMax = 256 << 20;  // more is taken when it has come
constexpr int kRedirectsMax = 3;
constexpr long kReceiveBufferBytes = 256 << 10;  // curl's default of 16 KiB costs a callback every 16 KiB
constexpr int kPollMs = 1'000;                   // a stop request wakes the poll up earlier
constexpr int64_t kTransferMsMax = int64_t{7} * 24 * 3'600'000;

using Clock = std::chrono::steady_clock;

struct CurlEasyDelete {
  void operator()(CURL* handle) const noexcept { curl_easy_cleanup(handle); }
};
struct CurlMultiDelete {
  void operator()(CURLM* handle) const noexcept { curl_multi_cleanup(handle); }
};
struct CurlListDelete {
  void operator()(curl_slist* list) const noexcept { curl_slist_free_all(list); }
};

// libcurl opens the file that SSLKEYLOGFILE names when it starts, and every TLS key would go there. It starts while this library
// is loaded: later, other threads may read the environment.
CURLcode start_curl() {
  constexpr const char* kKeyLog = "SSLKEYLOGFILE";
  const char* named = std::getenv(kKeyLog);
  if (named == nullptr) return curl_global_init(CURL_GLOBAL_DEFAULT);
  const std::string kept = named;
  ::unsetenv(kKeyLog);
  const CURLcode result = curl_global_init(CURL_GLOBAL_DEFAULT);
  ::setenv(kKeyLog, kept.c_str(), 1);
  return result;
}

const CURLcode curl_started = start_curl();

[[noreturn]] void throw_stopped() { throw Interrupted("extract.stopped", "the export was stopped"); }

// Scheme and host only: the rest of a presigned URL is as secret as a password.
std::string printable_origin(const std::string& url) {
  const size_t scheme = url.find("://");
  if (scheme == std::string::npos) return "the storage";
  const size_t start = scheme + 3;
  std::string authority = url.substr(start, url.find_first_of("/?#", start) - start);
  if (const size_t at = authority.rfind('@'); at != std::string::npos) authority.erase(0, at + 1);
  return url.substr(0, start) + authority;
}

bool is_expired_status(long status) {
  // 403 and 410 on S3 and Azure; Google answers 400 (ExpiredToken). 401 and 404 are no better the second time either.
  return status == 400 || status == 401 || status == 403 || status == 404 || status == 410;
}

bool is_passing_status(long status) { return status == 408 || status == 429 || status >= 500; }

bool is_redirect(long status) { return status == 301 || status == 302 || status == 303 || status == 307 || status == 308; }

bool is_untrusted(CURLcode result) {
  return result == CURLE_PEER_FAILED_VERIFICATION || result == CURLE_SSL_CACERT_BADFILE || result == CURLE_SSL_CERTPROBLEM ||
         result == CURLE_SSL_ISSUER_ERROR;
}

// Another try would fail in the same way: the address, the protocol or the certificate is wrong.
bool is_hopeless(CURLcode result, std::string_view text) {
  return is_untrusted(result) || result == CURLE_UNSUPPORTED_PROTOCOL || result == CURLE_URL_MALFORMAT ||
         (result == CURLE_SSL_CONNECT_ERROR && text.find("wrong version number") != std::string_view::npos);
}

// "https://host:443" of an absolute URL; empty when there is none in it.
std::string origin_of(const std::string& url) {
  const std::unique_ptr<CURLU, void (*)(CURLU*)> parsed(curl_url(), curl_url_cleanup);
  if (!parsed || curl_url_set(parsed.get(), CURLUPART_URL, url.c_str(), 0) != CURLUE_OK) return {};
  std::string origin;
  for (const CURLUPart part : {CURLUPART_SCHEME, CURLUPART_HOST, CURLUPART_PORT}) {
    char* text = nullptr;
    if (curl_url_get(parsed.get(), part, &text, CURLU_DEFAULT_PORT) != CURLUE_OK) return {};
    for (const char* at = text; *at != '\0'; ++at) origin += static_cast<char>(std::tolower(static_cast<unsigned char>(*at)));
    curl_free(text);
    origin += part == CURLUPART_SCHEME ? "://" : part == CURLUPART_HOST ? ":" : "";
  }
  return origin;
}

// What may come for a chunk of these sizes. Storage may send the inflated form where the compressed one was announced.
int64_t body_bytes_max(const ResultChunk& chunk, int64_t unannounced_max) {
  const int64_t announced = std::max(chunk.compressed_size, chunk.uncompressed_size);
  if (announced == 0) return inflated_bytes_max(0, unannounced_max);
  return std::min(kBodyBytesMax, 2 * std::min(announced, kBodyBytesMax) + kBodySlackBytes);
}

}  // namespace

HttpOptions http_options(const SourceSession& session) {
  const auto config = session.config();
  return config ? http_options(*config) : HttpOptions{};
}

HttpOptions http_options(const SnowflakeConfig& config) {
  HttpOptions options;
  options.https_only = config.protocol != "http";
  if (config.proxy_host.empty()) return options;
  options.proxy = config.proxy_port == 0 ? config.proxy_host : fmt::format("{}:{}", config.proxy_host, config.proxy_port);
  options.proxy_user = config.proxy_user;
  options.proxy_password = config.proxy_password;
  options.no_proxy = config.no_proxy;
  return options;
}

struct ChunkDownloader::Impl {
  Impl(HttpOptions options_in, RetryPolicy retries_in, std::stop_token stop_in, int64_t unannounced_max_in)
      : options(std::move(options_in)), retries(retries_in), stop(std::move(stop_in)), unannounced_max(unannounced_max_in) {
    if (curl_started != CURLE_OK) throw BugError("chunk.curl", "libcurl does not start");
    easy.reset(curl_easy_init());
    multi.reset(curl_multi_init());
    if (!easy || !multi) throw BugError("chunk.curl", "libcurl gives no handle");
    set_options();
  }

  void set_options() {
    CURL* handle = easy.get();
    curl_easy_setopt(handle, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(handle, CURLOPT_ERRORBUFFER, error_text.data());
    curl_easy_setopt(handle, CURLOPT_WRITEFUNCTION, &Impl::receive);
    curl_easy_setopt(handle, CURLOPT_WRITEDATA, this);
    curl_easy_setopt(handle, CURLOPT_BUFFERSIZE, kReceiveBufferBytes);
    curl_easy_setopt(handle, CURLOPT_PROTOCOLS_STR, options.https_only ? "https" : "http,https");
    curl_easy_setopt(handle, CURLOPT_FOLLOWLOCATION, 0L);  // curl would send the chunk's key to any host; see follow()
    curl_easy_setopt(handle, CURLOPT_CONNECTTIMEOUT, static_cast<long>(options.connect_timeout_s));
    curl_easy_setopt(handle, CURLOPT_LOW_SPEED_LIMIT, static_cast<long>(options.low_speed_bytes_per_s));
    curl_easy_setopt(handle, CURLOPT_LOW_SPEED_TIME, static_cast<long>(options.low_speed_time_s));
    if (options.proxy.empty()) return;
    curl_easy_setopt(handle, CURLOPT_PROXY, options.proxy.c_str());
    curl_easy_setopt(handle, CURLOPT_NOPROXY, options.no_proxy.c_str());
    if (options.proxy_user.empty()) return;
    curl_easy_setopt(handle, CURLOPT_PROXYUSERNAME, options.proxy_user.c_str());
    curl_easy_setopt(handle, CURLOPT_PROXYPASSWORD, options.proxy_password.reveal().c_str());
  }

  static size_t receive(char* data, size_t size, size_t count, void* self) {
    auto& impl = *static_cast<Impl*>(self);
    if (static_cast<int64_t>(impl.body.size() + size * count) > impl.body_max) return 0;  // ends the transfer as a write error
    impl.body.append(data, size * count);
    return size * count;
  }

  // One request. The multi interface only because its poll can be woken up: the easy one looks at its
  // progress callback once a second while nothing arrives.
  CURLcode transfer() {
    const auto time_left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()).count();
    curl_easy_setopt(easy.get(), CURLOPT_TIMEOUT_MS, static_cast<long>(std::clamp<int64_t>(time_left, 1, kTransferMsMax)));
    const std::stop_callback wake(stop, [this] { curl_multi_wakeup(multi.get()); });
    curl_multi_add_handle(multi.get(), easy.get());
    int running = 1;
    while (running != 0 && !stop.stop_requested()) {
      if (curl_multi_perform(multi.get(), &running) != CURLM_OK) break;
      if (running != 0) curl_multi_poll(multi.get(), nullptr, 0, kPollMs, nullptr);
    }
    CURLcode result = CURLE_ABORTED_BY_CALLBACK;
    int left = 0;
    while (const CURLMsg* message = curl_multi_info_read(multi.get(), &left)) {
      if (message->msg == CURLMSG_DONE) result = message->data.result;
    }
    curl_multi_remove_handle(multi.get(), easy.get());
    if (stop.stop_requested()) throw_stopped();
    return result;
  }

  // The inflated body, or nothing after a passing trouble, which `problem` then names.
  std::shared_ptr<arrow::Buffer> attempt(const ResultChunk& chunk, const std::map<std::string, std::string>& headers,
                                         const OnTurn& on_turn) {
    std::unique_ptr<curl_slist, CurlListDelete> list;
    for (const auto& [name, value] : headers) {
      list.reset(curl_slist_append(list.release(), fmt::format("{}: {}", name, value).c_str()));
    }
    curl_easy_setopt(easy.get(), CURLOPT_HTTPHEADER, list.get());
    curl_easy_setopt(easy.get(), CURLOPT_URL, chunk.url.c_str());
    body_max = body_bytes_max(chunk, unannounced_max);
    long status = 0;
    for (int redirects = 0;; ++redirects) {
      if (!receive_answer(chunk)) return nullptr;
      curl_easy_getinfo(easy.get(), CURLINFO_RESPONSE_CODE, &status);
      if (!is_redirect(status)) break;
      follow(chunk, redirects);
    }
    problem = fmt::format("HTTP status {}", status);
    if (is_passing_status(status)) return nullptr;
    if (status != 200) {
      const std::string text = fmt::format("{} refused a result chunk with HTTP status {}", printable_origin(chunk.url), status);
      if (is_expired_status(status)) throw ChunkUrlExpired("chunk.url_expired", text);
      throw ConnectionError("chunk.refused", text);
    }
    std::shared_ptr<arrow::Buffer> inflated;
    on_turn([&] { inflated = inflate(std::move(body), chunk.uncompressed_size, unannounced_max); });
    return inflated;
  }

  // One request and its answer. False after a passing trouble, which `problem` then names.
  bool receive_answer(const ResultChunk& chunk) {
    body.clear();
    if (chunk.compressed_size > 0) body.reserve(static_cast<size_t>(std::min(chunk.compressed_size, kReserveBytesMax)));
    error_text[0] = '\0';
    const CURLcode result = transfer();
    if (result == CURLE_OK) return true;
    problem = error_text[0] != '\0' ? error_text.data() : curl_easy_strerror(result);
    if (result == CURLE_WRITE_ERROR) {
      body = {};
      throw_too_large(body_max, std::max(chunk.compressed_size, chunk.uncompressed_size));
    }
    if (!is_hopeless(result, problem)) return false;
    throw ConnectionError(
        is_untrusted(result) ? "chunk.untrusted" : "chunk.bad_address",
        fmt::format("a result chunk cannot be fetched from {}: {}", printable_origin(chunk.url), problem),
        {.hint =
             is_untrusted(result)
                 ? "the storage's certificate is not trusted here: check the machine's certificate authorities, its clock, and "
                   "whether a proxy opens TLS"
                 : "the server names an address that is not used for chunks (https only, where the session is https); report "
                   "it with the query id"});
  }

  // A redirect stays on its host: the headers hold the chunk's key, and presigned addresses need no other host.
  void follow(const ResultChunk& chunk, int redirects) {
    const char* next = nullptr;
    curl_easy_getinfo(easy.get(), CURLINFO_REDIRECT_URL, &next);
    const std::string url = next == nullptr ? "" : next;
    const std::string origin = origin_of(url);
    if (origin.empty() || origin != origin_of(chunk.url)) {
      throw ConnectionError("chunk.redirected",
                            fmt::format("{} sends a result chunk's request on to {}, which is not followed",
                                        printable_origin(chunk.url), printable_origin(url)),
                            {.hint = "check what stands between this machine and the storage (a proxy, a captive portal)"});
    }
    if (redirects == kRedirectsMax) {
      throw ConnectionError("chunk.redirected", fmt::format("{} redirects a result chunk's request without end", origin),
                            {.hint = "check what stands between this machine and the storage"});
    }
    curl_easy_setopt(easy.get(), CURLOPT_URL, url.c_str());
  }

  // Sleeps before try number `tried` + 1; a stop request ends it.
  void pause(int tried) {
    const int64_t doubled = int64_t{retries.pause_first_ms} << std::min(tried - 1, 20);
    const int64_t longest = std::min<int64_t>(doubled, retries.pause_max_ms);
    int64_t pause_ms = std::uniform_int_distribution<int64_t>(longest / 2, longest)(random);
    curl_off_t retry_after_s = 0;
    curl_easy_getinfo(easy.get(), CURLINFO_RETRY_AFTER, &retry_after_s);
    pause_ms = std::max(pause_ms, std::min<int64_t>(retry_after_s * 1'000, retries.pause_max_ms));
    if (!pause_unless_stopped(std::chrono::milliseconds(pause_ms), stop)) throw_stopped();
  }

  HttpOptions options;
  RetryPolicy retries;
  std::stop_token stop;
  int64_t unannounced_max;
  std::array<char, CURL_ERROR_SIZE> error_text{};
  std::string body;
  int64_t body_max = kBodyBytesMax;
  Clock::time_point deadline;  // of the chunk in hand
  std::string problem;
  std::mt19937 random{std::random_device{}()};
  std::unique_ptr<CURL, CurlEasyDelete> easy;
  std::unique_ptr<CURLM, CurlMultiDelete> multi;
};

ChunkDownloader::ChunkDownloader(HttpOptions options, RetryPolicy retries, std::stop_token stop, int64_t unannounced_max)
    : impl_(std::make_unique<Impl>(std::move(options), retries, std::move(stop), unannounced_max)) {}

ChunkDownloader::~ChunkDownloader() = default;

std::shared_ptr<arrow::Buffer> ChunkDownloader::fetch(const ResultChunk& chunk, const std::map<std::string, std::string>& headers,
                                                      const OnTurn& on_turn) {
  impl_->deadline = Clock::now() + std::min<std::chrono::milliseconds>(impl_->options.time_max, std::chrono::hours(24 * 365));
  for (int tried = 1;; ++tried) {
    if (auto buffer = impl_->attempt(chunk, headers, on_turn)) return buffer;
    if (Clock::now() >= impl_->deadline) {
      throw ConnectionError("chunk.too_slow",
                            fmt::format("a result chunk did not come from {} within {}: {}", printable_origin(chunk.url),
                                        duration_text(impl_->options.time_max), impl_->problem),
                            {.hint = "check the network; over a slow one lower downloads in [export], or raise "
                                     "chunk_time_max there"});
    }
    if (tried == impl_->retries.attempts_max) {
      throw ConnectionError(
          "chunk.unreachable",
          fmt::format("a result chunk could not be fetched from {} in {} attempts: {}", printable_origin(chunk.url), tried,
                      impl_->problem),
          {.hint = "check the network, and the proxy for the storage's host (snowflake.proxy_host or https_proxy)"});
    }
    log(LogLevel::info, "a result chunk is fetched again ({} of {}): {}", tried, impl_->retries.attempts_max - 1, impl_->problem);
    impl_->pause(tried);
  }
}

}  // namespace snowmelt
