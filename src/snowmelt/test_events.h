// For tests: waiting for what happens, never for time to pass.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <fstream>
#include <functional>
#include <string>
#include <thread>
#include <vector>

namespace snowmelt {

// True once it holds. False after two minutes, which only a failure takes.
inline bool eventually(const std::function<bool()>& holds) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::minutes(2);
  while (!holds()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

// Whether the threads of this process, but for one, all sleep at one moment: each has slept from the first look to the second.
inline bool all_asleep(const std::vector<pid_t>& threads, pid_t but) {
  const auto look = [&](pid_t thread) {
    std::ifstream status("/proc/self/task/" + std::to_string(thread) + "/status");
    std::string found;
    for (std::string line; std::getline(status, line);) {
      if (line.starts_with("State:") || line.starts_with("voluntary_ctxt_switches:")) found += line;
    }
    return found;
  };
  std::vector<std::string> first;
  for (const pid_t thread : threads) first.push_back(look(thread));
  for (size_t i = 0; i < threads.size(); ++i) {
    if (threads[i] == but) continue;
    if (first[i].find("(sleeping)") == std::string::npos || look(threads[i]) != first[i]) return false;
  }
  return true;
}

}  // namespace snowmelt
