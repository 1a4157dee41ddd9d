#include "snowmelt/connections/login_lock.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <string>
#include <thread>

#include "snowmelt/error.h"
#include "snowmelt/log.h"

namespace snowmelt {
namespace {

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

// FNV-1a: the same in every build and every process, which std::hash need not be. No secret goes in.
uint64_t hash(const std::string& text) {
  uint64_t value = 0xcbf29ce484222325u;
  for (const unsigned char c : text) value = (value ^ c) * 0x100000001b3u;
  return value;
}

// The driver's own conditions for keeping a token.
bool keeps_tokens(const std::filesystem::path& directory) {
  struct stat status {};
  return !directory.empty() && ::stat(directory.c_str(), &status) == 0 && S_ISDIR(status.st_mode) &&
         status.st_uid == ::geteuid() && (status.st_mode & 0777) == 0700;
}

}  // namespace

bool needs_person(const SnowflakeConfig& config) {
  const std::string method = lower(config.authenticator);
  return method == "externalbrowser" || method == "oauth_authorization_code" || method == "username_password_mfa";
}

bool shares_login(const SnowflakeConfig& config) {
  return config.client_store_temporary_credential && !config.user.empty() && needs_person(config);
}

LoginLock::LoginLock(const SnowflakeConfig& config, const std::filesystem::path& directory, const std::stop_token& stop) {
  if (!keeps_tokens(directory)) return;
  const std::string& host = config.host.empty() ? config.account : config.host;
  const uint64_t key = hash(lower(host) + '\n' + config.user + '\n' + lower(config.authenticator));
  // The file stays: removing it would let a third process lock a new one while a second waits for the old.
  const std::filesystem::path file = directory / fmt::format("snowmelt-login-{:016x}.lock", key);
  const int descriptor = ::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  bool waiting = false;
  while (descriptor >= 0 && ::flock(descriptor, LOCK_EX | LOCK_NB) != 0) {
    if (errno == EINTR) continue;
    if (errno != EWOULDBLOCK) {  // a file system without locks
      log(LogLevel::debug, "no login lock: {}: error {}", file.string(), errno);
      ::close(descriptor);
      return;
    }
    if (stop.stop_requested()) {
      ::close(descriptor);
      throw Interrupted("snowflake.interrupted", "stopped while another process was logging in",
                        {.where = host, .nothing_sent = true});
    }
    if (!waiting) log(LogLevel::warning, "another snowmelt process is logging in; waiting for it");
    waiting = true;
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  if (descriptor < 0) log(LogLevel::debug, "no login lock: {}: error {}", file.string(), errno);
  descriptor_ = descriptor;
}

LoginLock::~LoginLock() {
  if (held()) ::close(descriptor_);
}

}  // namespace snowmelt
