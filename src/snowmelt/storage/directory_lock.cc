#include "snowmelt/storage/directory_lock.h"

#include <fcntl.h>
#include <sys/file.h>

#include <cerrno>
#include <system_error>

#include "snowmelt/error.h"
#include "snowmelt/log.h"
#include "snowmelt/storage/durable_file.h"

namespace snowmelt {
namespace fs = std::filesystem;

namespace {

// The file stays: removing it would let a third run lock a new one while a second waits for the old.
constexpr const char* kLockName = ".lock";

bool is_denied(int error) { return error == EACCES || error == EPERM || error == EROFS; }

}  // namespace

std::shared_ptr<DirectoryLock> DirectoryLock::exclusive(const fs::path& directory, FilePermissions permissions) {
  const fs::path file = directory / kLockName;
  Descriptor descriptor = open_carefully(file, O_RDWR | O_CREAT, Links::refuse, file_mode(permissions));
  check_regular(file, descriptor);
  set_mode(descriptor.get(), permissions);
  std::shared_ptr<DirectoryLock> lock(new DirectoryLock(directory, std::move(descriptor)));
  lock->lock(LOCK_EX);
  return lock;
}

std::shared_ptr<DirectoryLock> DirectoryLock::shared(const fs::path& directory) {
  const fs::path file = directory / kLockName;
  Descriptor descriptor = open_carefully(file, O_RDONLY, Links::refuse);
  if (!descriptor && errno == ENOENT)  // an export that was copied here
    descriptor = open_carefully(file, O_RDONLY | O_CREAT, Links::refuse, file_mode(FilePermissions::private_));
  if (!descriptor && is_denied(errno)) {
    log(errno == EROFS ? LogLevel::debug : LogLevel::warning,
        "{} cannot be locked ({}): an export into it would disturb this load", directory.string(),
        std::generic_category().message(errno));
    return nullptr;
  }
  check_regular(file, descriptor);
  std::shared_ptr<DirectoryLock> lock(new DirectoryLock(directory, std::move(descriptor)));
  const int error = lock->try_lock(LOCK_SH);
  if (error == ENOLCK || error == EOPNOTSUPP) return nullptr;  // a file system without locks: nobody exports there
  lock->lock(LOCK_SH);
  return lock;
}

void DirectoryLock::share() { lock(LOCK_SH); }

int DirectoryLock::try_lock(int operation) const {
  while (::flock(file_.get(), operation | LOCK_NB) != 0) {
    if (errno != EINTR) return errno;
  }
  return 0;
}

void DirectoryLock::lock(int operation) const {
  const int error = try_lock(operation);
  if (error == 0) return;
  if (error != EWOULDBLOCK) throw_file_error("lock the file", directory_ / kLockName, error);
  throw LockedError("export.locked",
                    operation == LOCK_EX ? "another run is exporting into this directory or loading from it"
                                         : "another run is exporting into this directory",
                    {.where = directory_.string(), .hint = "wait for it, or set export.directory to another one"});
}

}  // namespace snowmelt
