// libsnowmelt_bridge.so: found, loaded once a process, its functions by name.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

namespace snowmelt {

struct BridgeFunctions {
  char* (*open)(const char* options_json, int64_t login_id);
  void (*cancel_login)(int64_t login_id);
  char* (*execute)(int64_t session, int64_t statement_id, const char* request_json);
  char* (*result)(int64_t session, int64_t statement_id, const char* query_id);
  void (*cancel)(int64_t statement_id);
  char* (*ping)(int64_t session, int64_t statement_id);
  char* (*close)(int64_t session);
  void (*free)(char* text);
  void (*set_event_callback)(void (*callback)(const char* event_json));
};

// Loads at the first call (0.1 s: the Go runtime starts). Never unloaded: Go's threads cannot be stopped.
// Throws ConfigurationError naming the places searched; a later call tries again.
const BridgeFunctions& bridge_functions();

// Standard base64, padded. Throws BugError for anything else.
std::string decode_base64(const std::string& text);

}  // namespace snowmelt
