// One result chunk from its presigned URL to memory: downloaded and inflated. One downloader a thread.
#pragma once

#include <arrow/api.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <stop_token>
#include <string>

#include "snowmelt/config.h"
#include "snowmelt/connections/source_session.h"
#include "snowmelt/error.h"
#include "snowmelt/extract/chunk_formats.h"

namespace snowmelt {

// Pauses double from `pause_first_ms` to `pause_max_ms`, each with a random spread of half; about 25 s in all.
struct RetryPolicy {
  int attempts_max = 8;
  int pause_first_ms = 200;
  int pause_max_ms = 8'000;
};

// The proxy of [snowflake]; without one the environment's (http_proxy, https_proxy, no_proxy) as curl reads it.
struct HttpOptions {
  std::string proxy;  // host:port; empty: the environment's
  std::string proxy_user;
  Secret proxy_password;
  std::string no_proxy;
  bool https_only = false;  // a session over https takes nothing over http
  int connect_timeout_s = 15;
  int64_t low_speed_bytes_per_s = ExportConfig().chunk_rate_min;       // a transfer slower than this …
  int low_speed_time_s = 30;                                           // … for this long is given up and tried again
  std::chrono::milliseconds time_max = ExportConfig().chunk_time_max;  // for one chunk, all attempts together
};

HttpOptions http_options(const SnowflakeConfig& config);
// Of the session's connection; a source that only knows rows has the defaults.
HttpOptions http_options(const SourceSession& session);

// The storage does not honour this URL (any more): fresh URLs are needed, not another try.
class ChunkUrlExpired : public ConnectionError {
 public:
  using ConnectionError::ConnectionError;
};

// Runs the work when and where its turn comes.
using OnTurn = std::function<void(const std::function<void()>& work)>;

class ChunkDownloader {
 public:
  // `unannounced_max`: bytes of a chunk whose size the server does not say.
  ChunkDownloader(HttpOptions options, RetryPolicy retries, std::stop_token stop, int64_t unannounced_max = kUnannouncedBytesMax);
  ~ChunkDownloader();
  ChunkDownloader(const ChunkDownloader&) = delete;
  ChunkDownloader& operator=(const ChunkDownloader&) = delete;

  // The chunk's bytes, inflated. Passing troubles (transport, 408, 429, 5xx, a short body) are tried again by the policy; a
  // damaged body is the caller's to fetch again. A body that has arrived is inflated inside `on_turn`. Redirects are followed on
  // the same host only. Throws ChunkUrlExpired, ChunkDamaged (also for a body far larger than announced), ConnectionError, and
  // Interrupted within a moment of a stop request.
  std::shared_ptr<arrow::Buffer> fetch(
      const ResultChunk& chunk, const std::map<std::string, std::string>& headers,
      const OnTurn& on_turn = [](const std::function<void()>& work) { work(); });

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace snowmelt
