#include "snowmelt/storage/directory_lock.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <system_error>

#include "snowmelt/duration.h"
#include "snowmelt/error.h"
#include "snowmelt/log.h"
#include "snowmelt/stoppable_pause.h"
#include "snowmelt/storage/durable_file.h"

namespace snowmelt {
namespace fs = std::filesystem;

namespace {

// The file stays: removing it would let a third run lock a new one while a second waits for the old.
constexpr const char* kLockName = ".lock";

using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kFirstPause{10};
constexpr std::chrono::milliseconds kLongestPause{1'000};

bool is_denied(int error) { return error == EACCES || error == EPERM || error == EROFS; }

}  // namespace

std::shared_ptr<DirectoryLock> DirectoryLock::exclusive(const fs::path& directory, FilePermissions permissions,
                                                        const LockWait& wait) {
  const fs::path file = directory / kLockName;
  Descriptor descriptor = open_carefully(file, O_RDWR | O_CREAT, Links::refuse, file_mode(permissions));
  check_regular(file, descriptor);
  set_mode(descriptor.get(), permissions);
  std::shared_ptr<DirectoryLock> lock(new DirectoryLock(directory, std::move(descriptor)));
  lock->lock(LOCK_EX, wait);
  lock->name_holder();
  return lock;
}

std::shared_ptr<DirectoryLock> DirectoryLock::shared(const fs::path& directory, const LockWait& wait) {
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
  lock->lock(LOCK_SH, wait);
  return lock;
}

void DirectoryLock::share() {
  forget_holder();  // from now on there may be several
  lock(LOCK_SH, {});
}

int DirectoryLock::try_lock(int operation) const {
  while (::flock(file_.get(), operation | LOCK_NB) != 0) {
    if (errno != EINTR) return errno;
  }
  return 0;
}

void DirectoryLock::lock(int operation, const LockWait& wait) const {
  const auto deadline = Clock::now() + wait.most;
  WaitingNote note(wait.note);
  auto time = kFirstPause;
  for (bool first = true;; first = false) {
    const int error = try_lock(operation);
    if (error == 0) return;
    if (error != EWOULDBLOCK) throw_file_error("lock the file", directory_ / kLockName, error);
    const std::string who = (operation == LOCK_EX ? "another run that exports into this directory or loads from it"
                                                  : "another run that exports into this directory") +
                            holder();
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now());
    if (left.count() <= 0) {
      const std::string waited = wait.most.count() > 0 ? fmt::format(" after {}", duration_text(wait.most)) : "";
      throw LockedError(
          "export.locked", fmt::format("{} is not done{}", who, waited),
          {.where = directory_.string(),
           .hint = fmt::format("give it {}time with --wait 10m ([postgres] wait), or set export.directory to another one",
                               waited.empty() ? "" : "more ")});
    }
    note.set("waiting for " + who);
    if (first) log(LogLevel::warning, "{}: waiting for {} (up to {})", directory_.string(), who, duration_text(wait.most));
    if (!pause_unless_stopped(std::min(time, left), wait.stop))
      throw Interrupted("export.stopped", "stopped while another run held the directory", {.where = directory_.string()});
    time = std::min(2 * time, kLongestPause);
  }
}

DirectoryLock::~DirectoryLock() { forget_holder(); }

// Best effort, as it is there for messages only.
void DirectoryLock::name_holder() {
  const std::string text = fmt::format("{}\n", ::getpid());
  named_ =
      ::ftruncate(file_.get(), 0) == 0 && ::pwrite(file_.get(), text.data(), text.size(), 0) == static_cast<ssize_t>(text.size());
}

void DirectoryLock::forget_holder() {
  if (named_ && ::ftruncate(file_.get(), 0) == 0) named_ = false;
}

// " (pid 123)" of an export that runs; empty where nobody knows. A number that an ended process has left is nobody's.
std::string DirectoryLock::holder() const {
  std::array<char, 12> text{};
  const ssize_t bytes = ::pread(file_.get(), text.data(), text.size(), 0);
  pid_t pid = 0;
  if (bytes <= 1) return "";
  const auto [end, error] = std::from_chars(text.data(), text.data() + bytes, pid);
  if (error != std::errc{} || pid <= 0 || end != text.data() + bytes - 1 || *end != '\n') return "";
  if (::kill(pid, 0) != 0 && errno == ESRCH) return "";
  return fmt::format(" (pid {})", pid);
}

}  // namespace snowmelt
