// One interactive login at a time for all processes of a user: the others wait and find the first one's token.
#pragma once

#include <filesystem>
#include <stop_token>

#include "snowmelt/config.h"

namespace snowmelt {

// Whether the method may ask a person: a browser, or a second factor.
bool needs_person(const SnowflakeConfig& config);

// Whether a login may ask a person for something that the token it leaves in the cache would spare the next process.
bool shares_login(const SnowflakeConfig& config);

// Held from construction on and given back by the destructor, or by the system when the process dies.
class LoginLock {
 public:
  // `directory`: the driver's credential cache. Where it keeps nothing there is nothing to wait for, and no lock. While
  // another process holds the lock this says so once (a warning) and waits; `stop` ends the wait with Interrupted.
  LoginLock(const SnowflakeConfig& config, const std::filesystem::path& directory, const std::stop_token& stop);
  ~LoginLock();
  LoginLock(const LoginLock&) = delete;
  LoginLock& operator=(const LoginLock&) = delete;

  bool held() const { return descriptor_ >= 0; }

 private:
  int descriptor_ = -1;
};

}  // namespace snowmelt
