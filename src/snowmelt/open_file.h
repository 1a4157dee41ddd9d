// Files opened with care for who else may touch them: what was checked is what is read.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>

namespace snowmelt {

// Closes what it holds.
class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int value) : value_(value) {}
  ~Descriptor() { reset(); }
  Descriptor(Descriptor&& other) noexcept : value_(std::exchange(other.value_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    reset();
    value_ = std::exchange(other.value_, -1);
    return *this;
  }
  void reset() noexcept;
  int get() const { return value_; }
  explicit operator bool() const { return value_ >= 0; }

 private:
  int value_ = -1;
};

// Whether a link under the last name is followed: yes for what people name themselves, no inside directories of ours.
enum class Links { follow, refuse };

// open() that neither waits (for the other end of a FIFO) nor leaks into children. Without a descriptor: errno says why.
Descriptor open_carefully(const std::filesystem::path& file, int flags, Links links, mode_t mode = 0);

// Up to `size` bytes at `offset`, fewer only at the end of the file. -1: errno says why.
ssize_t read_fully(int descriptor, char* data, size_t size, int64_t offset);

// The text of a file of settings that this user trusts: opened once, its owner and mode looked at on what was opened. Links are
// followed, and a pipe of the shell's (`--config <(…)`) is taken. `readable_by_others` tells the caller to warn.
// Throws ConfigurationError: missing, a directory or device, larger than 16 MB, of another user than root and this one, writable
// by others.
struct TrustedText {
  std::string text;
  bool readable_by_others = false;
};
TrustedText read_trusted(const std::filesystem::path& file);

// Why a file of this status is not to be trusted, for a message, or empty.
std::string distrust(const struct stat& status, uid_t user);

}  // namespace snowmelt
