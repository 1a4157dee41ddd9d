// An export's directory belongs to one export, or to those who load from it.
#pragma once

#include <chrono>
#include <filesystem>
#include <memory>
#include <stop_token>
#include <string>

#include "snowmelt/file_permissions.h"
#include "snowmelt/open_file.h"
#include "snowmelt/progress.h"

namespace snowmelt {

// For somebody else's lock. Said once in the log, as a warning.
struct LockWait {
  std::chrono::milliseconds most{0};  // 0: not at all
  std::stop_token stop = {};          // ends the wait as Interrupted
  ProgressNote* note = nullptr;       // says so in a display
};

// Held until destroyed; the kernel frees it when a process ends.
class DirectoryLock {
 public:
  ~DirectoryLock();
  DirectoryLock(const DirectoryLock&) = delete;
  DirectoryLock& operator=(const DirectoryLock&) = delete;

  // Of an export: nobody else exports there or loads from there. Throws LockedError once it has waited long enough. The file
  // keeps the holder's process number, for the messages of those who wait.
  static std::shared_ptr<DirectoryLock> exclusive(const std::filesystem::path& directory,
                                                  FilePermissions permissions = FilePermissions::private_,
                                                  const LockWait& wait = {});
  // Of a load: nobody exports there. Throws LockedError as above. Null where this user may not lock (a read-only file system, an
  // export of somebody else): such a load is told in the log and goes on.
  static std::shared_ptr<DirectoryLock> shared(const std::filesystem::path& directory, const LockWait& wait = {});

  // An export that is published goes on as a load. Throws LockedError where another run was quicker.
  void share();

 private:
  DirectoryLock(std::filesystem::path directory, Descriptor file) : directory_(std::move(directory)), file_(std::move(file)) {}
  int try_lock(int operation) const;
  void lock(int operation, const LockWait& wait) const;
  void name_holder();
  void forget_holder();
  std::string holder() const;

  std::filesystem::path directory_;
  Descriptor file_;
  bool named_ = false;  // the file holds our process number
};

}  // namespace snowmelt
