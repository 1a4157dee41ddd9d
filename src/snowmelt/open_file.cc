#include "snowmelt/open_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

#include "snowmelt/error.h"

namespace snowmelt {
namespace {

constexpr size_t kSettingsBytesMax = 16 << 20;

[[noreturn]] void throw_unreadable(const std::filesystem::path& file, std::string why) {
  throw ConfigurationError("config.unreadable", "the file cannot be read: " + std::move(why), {.where = file.string()});
}

// A pipe has no size and no offsets.
std::string read_to_end(const std::filesystem::path& file, int descriptor) {
  std::string text;
  char buffer[16 << 10];
  for (;;) {
    const ssize_t got = ::read(descriptor, buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw_unreadable(file, std::generic_category().message(errno));
    if (got == 0) return text;
    text.append(buffer, static_cast<size_t>(got));
    if (text.size() > kSettingsBytesMax) throw_unreadable(file, "it is too large for a file of settings");
  }
}

}  // namespace

void Descriptor::reset() noexcept {
  if (value_ >= 0) ::close(std::exchange(value_, -1));
}

Descriptor open_carefully(const std::filesystem::path& file, int flags, Links links, mode_t mode) {
  const int nofollow = links == Links::refuse ? O_NOFOLLOW : 0;
  int descriptor;
  do {
    descriptor = ::open(file.c_str(), flags | nofollow | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, mode);
  } while (descriptor < 0 && errno == EINTR);
  return Descriptor(descriptor);
}

ssize_t read_fully(int descriptor, char* data, size_t size, int64_t offset) {
  size_t done = 0;
  while (done < size) {
    const ssize_t got = ::pread(descriptor, data + done, size - done, offset + static_cast<int64_t>(done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return -1;
    if (got == 0) break;
    done += static_cast<size_t>(got);
  }
  return static_cast<ssize_t>(done);
}

std::string distrust(const struct stat& status, uid_t user) {
  if (status.st_uid != user && status.st_uid != 0) return fmt::format("the file belongs to another user (uid {})", status.st_uid);
  if ((status.st_mode & (S_IWGRP | S_IWOTH)) != 0) return "the file may be written by other users";
  return {};
}

TrustedText read_trusted(const std::filesystem::path& file) {
  const Descriptor descriptor = open_carefully(file, O_RDONLY, Links::follow);
  struct stat status {};
  if (!descriptor || ::fstat(descriptor.get(), &status) != 0) throw_unreadable(file, std::generic_category().message(errno));
  if (!S_ISREG(status.st_mode) && !S_ISFIFO(status.st_mode)) throw_unreadable(file, "it is not a file");
  if (const std::string why = distrust(status, ::geteuid()); !why.empty()) {
    const bool foreign = status.st_uid != ::geteuid() && status.st_uid != 0;
    throw ConfigurationError(
        "config.unsafe_file", why,
        {.where = file.string(),
         .hint = foreign ? fmt::format("it may send a login elsewhere; chown {} {} if it is yours", ::geteuid(), file.string())
                         : fmt::format("chmod go-w {}", file.string())});
  }
  if (S_ISFIFO(status.st_mode)) ::fcntl(descriptor.get(), F_SETFL, 0);  // its writer may be slow
  return {read_to_end(file, descriptor.get()), S_ISREG(status.st_mode) && (status.st_mode & (S_IRGRP | S_IROTH)) != 0};
}

}  // namespace snowmelt
