#include "snowmelt/extract/directory_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>

#include "snowmelt/error.h"
#include "snowmelt/storage/durable_file.h"

namespace snowmelt {

DirectoryLock::DirectoryLock(const std::filesystem::path& directory) {
  // The file stays: removing it would let a third run lock a new one while a second waits for the old.
  const std::filesystem::path file = directory / ".lock";
  descriptor_ = ::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (descriptor_ < 0) throw_file_error("create the lock file", file, errno);
  if (::flock(descriptor_, LOCK_EX | LOCK_NB) == 0) return;
  const int error = errno;
  ::close(descriptor_);
  if (error != EWOULDBLOCK) throw_file_error("lock the file", file, error);
  throw LockedError("export.locked", "another run is exporting into this directory",
                    {.where = directory.string(), .hint = "wait for it, or set export.directory to another one"});
}

DirectoryLock::~DirectoryLock() { ::close(descriptor_); }

}  // namespace snowmelt
