#include "snowmelt/machine_limits.h"

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <optional>
#include <string>
#include <string_view>
#include <thread>

namespace snowmelt {
namespace {

namespace fs = std::filesystem;

// The n-th word of a file as a number; nothing for "max", -1, and what is not there.
std::optional<int64_t> number_in(const fs::path& file, int word = 0) {
  std::ifstream in(file);
  std::string text;
  for (int i = 0; i <= word; ++i) {
    if (!(in >> text)) return std::nullopt;
  }
  int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size() || number <= 0) return std::nullopt;
  return number;
}

void lower_cores(MachineLimits& limits, std::optional<int64_t> quota, std::optional<int64_t> period) {
  if (!quota || !period) return;
  const int64_t cores = *quota / *period + (*quota % *period != 0 ? 1 : 0);
  limits.cores = static_cast<int>(std::clamp<int64_t>(cores, 1, limits.cores));
}

void lower_by(MachineLimits& limits, const fs::path& group) {
  for (const char* file : {"memory.max", "memory.high", "memory.limit_in_bytes"}) {
    if (const auto bytes = number_in(group / file)) limits.memory_bytes = std::min(limits.memory_bytes, *bytes);
  }
  lower_cores(limits, number_in(group / "cpu.max", 0), number_in(group / "cpu.max", 1));
  lower_cores(limits, number_in(group / "cpu.cfs_quota_us"), number_in(group / "cpu.cfs_period_us"));
}

// The group and all above it. In a container the path may be the host's, of which only the mount itself is seen.
void lower_by_chain(MachineLimits& limits, const fs::path& mount, std::string_view path) {
  for (;;) {
    lower_by(limits, mount / path.substr(path.starts_with('/') ? 1 : 0));
    if (path.empty() || path == "/") return;
    path = path.substr(0, path.rfind('/') == std::string_view::npos ? 0 : path.rfind('/'));
  }
}

}  // namespace

MachineLimits machine_limits(const fs::path& root) {
  MachineLimits limits{.memory_bytes = int64_t{::sysconf(_SC_PHYS_PAGES)} * ::sysconf(_SC_PAGESIZE),
                       .cores = static_cast<int>(std::max(1U, std::thread::hardware_concurrency()))};
  const fs::path mounts = root / "sys/fs/cgroup";
  std::ifstream groups(root / "proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {  // "4:memory:/path", "0::/path"
    const size_t first = line.find(':');
    const size_t second = line.find(':', first == std::string::npos ? first : first + 1);
    if (second == std::string::npos) continue;
    const std::string_view path = std::string_view(line).substr(second + 1);
    std::string_view controllers = std::string_view(line).substr(first + 1, second - first - 1);
    if (controllers.empty()) {
      lower_by_chain(limits, mounts, path);
      continue;
    }
    while (!controllers.empty()) {
      const size_t comma = std::min(controllers.find(','), controllers.size());
      const std::string_view name = controllers.substr(0, comma);
      if (name == "memory" || name == "cpu") lower_by_chain(limits, mounts / name, path);
      controllers.remove_prefix(std::min(comma + 1, controllers.size()));
    }
  }
  return limits;
}

int64_t default_memory_limit() {
  constexpr int64_t kMost = int64_t{2} << 30;
  return std::min(kMost, machine_limits().memory_bytes / 4);
}

}  // namespace snowmelt
