#include "snowmelt/connections/bridge_library.h"

#include <dlfcn.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <mutex>
#include <optional>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "snowmelt/error.h"

namespace snowmelt {
namespace {

namespace fs = std::filesystem;

constexpr const char* kLibraryName = "libsnowmelt_bridge.so";
constexpr const char* kLibraryVariable = "SNOWMELT_BRIDGE_LIBRARY";

// Beside the program (build tree), beside the library with this code (Python package), and where `install` puts it.
std::vector<std::string> candidates() {
  if (const char* named = std::getenv(kLibraryVariable); named && *named) return {named};
  std::vector<fs::path> directories;
  std::error_code ignored;
  if (const fs::path program = fs::read_symlink("/proc/self/exe", ignored); !program.empty()) {
    directories.push_back(program.parent_path());
  }
  Dl_info info{};
  if (dladdr(reinterpret_cast<const void*>(&candidates), &info) && info.dli_fname) {
    directories.push_back(fs::absolute(info.dli_fname, ignored).parent_path());
  }
  std::vector<std::string> files;
  for (const fs::path& directory : directories) files.push_back(directory / kLibraryName);
  for (const fs::path& directory : directories) {
    files.push_back(directory.parent_path() / "lib" / "snowmelt" / kLibraryName);
  }
  return files;
}

void* load_library() {
  const std::vector<std::string> files = candidates();
  std::error_code ignored;
  for (const std::string& file : files) {
    if (!fs::exists(file, ignored)) continue;
    if (void* library = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE)) return library;
    throw ConfigurationError("snowflake.bridge_unusable", fmt::format("the Snowflake driver cannot be loaded: {}", dlerror()),
                             {.where = file, .hint = "build or install snowmelt again on this machine"});
  }
  throw ConfigurationError(
      "snowflake.bridge_missing", fmt::format("the Snowflake driver is in none of {}", fmt::join(files, ", ")),
      {.where = kLibraryName, .hint = fmt::format("build it (make build), or name its file in {}", kLibraryVariable)});
}

template <typename Function>
void find(void* library, const char* name, Function& function) {
  const std::string symbol = fmt::format("snowmelt_bridge_{}", name);
  function = reinterpret_cast<Function>(dlsym(library, symbol.c_str()));
  if (!function) {
    throw ConfigurationError("snowflake.bridge_unusable", fmt::format("{} lacks {}", kLibraryName, symbol),
                             {.hint = "it belongs to another version of snowmelt: build it again"});
  }
}

BridgeFunctions load() {
  void* library = load_library();
  BridgeFunctions bridge{};
  find(library, "open", bridge.open);
  find(library, "cancel_login", bridge.cancel_login);
  find(library, "execute", bridge.execute);
  find(library, "result", bridge.result);
  find(library, "cancel", bridge.cancel);
  find(library, "ping", bridge.ping);
  find(library, "close", bridge.close);
  find(library, "free", bridge.free);
  find(library, "set_event_callback", bridge.set_event_callback);
  return bridge;
}

constexpr uint32_t kInvalid = 1u << 24;

// One table a position: four look-ups and three ORs make three bytes, 2 GB/s against 0.3 for one character at a time.
struct Base64Tables {
  std::array<std::array<uint32_t, 256>, 4> value{};

  constexpr Base64Tables() {
    constexpr char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (int position = 0; position < 4; ++position) {
      for (uint32_t& entry : value[position]) entry = kInvalid;
      for (uint32_t digit = 0; digit < 64; ++digit) {
        value[position][static_cast<unsigned char>(alphabet[digit])] = digit << (18 - 6 * position);
      }
    }
  }
};
constexpr Base64Tables kBase64;

uint32_t decode_group(const char* group) {
  uint32_t bits = 0;
  for (size_t i = 0; i < 4; ++i) bits |= kBase64.value[i][static_cast<unsigned char>(group[i])];
  if (bits & kInvalid) throw VerificationError("snowflake.bad_base64", "the first batch of a result is not base64");
  return bits;
}

}  // namespace

const BridgeFunctions& bridge_functions() {
  static std::mutex mutex;
  static std::optional<BridgeFunctions> loaded;
  static std::atomic<pid_t> owner{0};
  // Asked before the lock: Go's runtime does not live on in a forked child, and a call into it would wait for ever.
  if (const pid_t pid = owner; pid != 0 && pid != ::getpid()) {
    throw UsageError("process.forked",
                     "this process was forked after the Snowflake driver was loaded, which the driver does not survive",
                     {.hint = "fork first and connect afterwards, or start workers with \"spawn\"", .nothing_sent = true});
  }
  const std::scoped_lock lock(mutex);
  if (!loaded) {
    loaded = load();
    owner = ::getpid();
  }
  return *loaded;
}

std::string decode_base64(const std::string& text) {
  if (text.empty()) return {};
  if (text.size() % 4 != 0) throw VerificationError("snowflake.bad_base64", "the first batch of a result is not whole base64");
  const size_t padding = text.ends_with("==") ? 2 : text.ends_with('=') ? 1 : 0;
  const size_t whole = text.size() / 4 - (padding ? 1 : 0);
  std::string bytes(text.size() / 4 * 3, '\0');
  char* out = bytes.data();
  for (size_t i = 0; i < whole; ++i, out += 3) {
    const uint32_t bits = decode_group(text.data() + 4 * i);
    out[0] = static_cast<char>(bits >> 16);
    out[1] = static_cast<char>(bits >> 8);
    out[2] = static_cast<char>(bits);
  }
  if (padding) {
    std::string last = text.substr(4 * whole);
    for (size_t i = 4 - padding; i < 4; ++i) last[i] = 'A';
    const uint32_t bits = decode_group(last.data());
    out[0] = static_cast<char>(bits >> 16);
    out[1] = static_cast<char>(bits >> 8);
    bytes.resize(bytes.size() - padding);
  }
  return bytes;
}

}  // namespace snowmelt
