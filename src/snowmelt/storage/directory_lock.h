// An export's directory belongs to one export, or to those who load from it.
#pragma once

#include <filesystem>
#include <memory>

#include "snowmelt/file_permissions.h"
#include "snowmelt/open_file.h"

namespace snowmelt {

// Held until destroyed; the kernel frees it when a process ends.
class DirectoryLock {
 public:
  // Of an export: nobody else exports there or loads from there. Throws LockedError.
  static std::shared_ptr<DirectoryLock> exclusive(const std::filesystem::path& directory,
                                                  FilePermissions permissions = FilePermissions::private_);
  // Of a load: nobody exports there. Throws LockedError. Null where this user may not lock (a read-only file system, an export of
  // somebody else): such a load is told in the log and goes on.
  static std::shared_ptr<DirectoryLock> shared(const std::filesystem::path& directory);

  // An export that is published goes on as a load. Throws LockedError where another run was quicker.
  void share();

 private:
  DirectoryLock(std::filesystem::path directory, Descriptor file) : directory_(std::move(directory)), file_(std::move(file)) {}
  int try_lock(int operation) const;
  void lock(int operation) const;

  std::filesystem::path directory_;
  Descriptor file_;
};

}  // namespace snowmelt
