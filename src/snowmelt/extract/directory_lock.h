// One export at a time works in a directory.
#pragma once

#include <filesystem>

namespace snowmelt {

class DirectoryLock {
 public:
  // Throws LockedError when another run, of this process or another, holds it; the kernel frees it when a process ends.
  explicit DirectoryLock(const std::filesystem::path& directory);
  ~DirectoryLock();
  DirectoryLock(const DirectoryLock&) = delete;
  DirectoryLock& operator=(const DirectoryLock&) = delete;

 private:
  int descriptor_ = -1;
};

}  // namespace snowmelt
