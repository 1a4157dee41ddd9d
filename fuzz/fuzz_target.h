// What the fuzz targets share. A target feeds one input to the code that meets bytes from outside, and lets snowmelt's own
// errors pass: they are the right answer. A bug error (exit code 10) and every other exception are findings.
#pragma once

#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include "snowmelt/error.h"
#include "snowmelt/log.h"

namespace snowmelt::fuzz {

inline std::string_view text_of(const uint8_t* data, size_t size) { return {reinterpret_cast<const char*>(data), size}; }

template <typename Work>
void expect_own_errors(Work work) {
  try {
    work();
  } catch (const BugError& error) {
    std::fprintf(stderr, "finding: %s\n", error.what());
    std::abort();
  } catch (const Error&) {
  }
}

// A directory of this process, in memory where the machine has such a place; emptied by its owner, removed at the exit.
class Scratch {
 public:
  Scratch() {
    const char* const base = ::access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    path_ = std::filesystem::path(base) / ("snowmelt-fuzz-" + std::to_string(::getpid()));
    std::filesystem::create_directories(path_);
    std::filesystem::permissions(path_, std::filesystem::perms::owner_all);
    set_log_sink([](LogLevel, std::string_view) {});
  }
  ~Scratch() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  const std::filesystem::path& path() const { return path_; }

  std::filesystem::path write(const std::string& name, std::string_view bytes) const {
    const std::filesystem::path file = path_ / name;
    std::ofstream(file, std::ios::binary | std::ios::trunc).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    std::filesystem::permissions(file, std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
    return file;
  }

 private:
  std::filesystem::path path_;
};

inline const Scratch& scratch() {
  static const Scratch the;
  return the;
}

}  // namespace snowmelt::fuzz
