// What this process may use: the host's, or less where a container or a service manager says so.
#pragma once

#include <cstdint>
#include <filesystem>

namespace snowmelt {

struct MachineLimits {
  int64_t memory_bytes = 0;
  int cores = 1;
};

// The host's memory and cores, lowered by the control groups that this process is in (version 2: memory.max, memory.high,
// cpu.max; version 1: memory.limit_in_bytes, the CFS quota), those above them included. `root` is where /proc and /sys are.
MachineLimits machine_limits(const std::filesystem::path& root = "/");

// A quarter of that memory, at most 2 GiB. For an export's chunks in hand, and for an import's decoded rows.
int64_t default_memory_limit();

}  // namespace snowmelt
