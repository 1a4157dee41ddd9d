#include "snowmelt/storage/durable_file.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <mutex>
#include <set>
#include <system_error>
#include <utility>

#include "snowmelt/error.h"
#include "snowmelt/log.h"

namespace snowmelt {
namespace fs = std::filesystem;

struct Sha256::Context {
  EVP_MD_CTX* md = EVP_MD_CTX_new();
  ~Context() { EVP_MD_CTX_free(md); }
};

Sha256::Sha256() : context_(std::make_unique<Context>()) {
  if (context_->md == nullptr || EVP_DigestInit_ex(context_->md, EVP_sha256(), nullptr) != 1) {
    throw BugError("storage.sha256", "OpenSSL offers no SHA-256");
  }
}

Sha256::~Sha256() = default;

void Sha256::update(const void* data, size_t size) { EVP_DigestUpdate(context_->md, data, size); }

std::string Sha256::hex() {
  std::array<unsigned char, EVP_MAX_MD_SIZE> bytes{};
  unsigned int size = 0;
  EVP_DigestFinal_ex(context_->md, bytes.data(), &size);
  return to_hex({reinterpret_cast<const char*>(bytes.data()), size});
}

std::string to_hex(std::string_view bytes) {
  static constexpr char digits[] = "0123456789abcdef";
  std::string text;
  text.reserve(bytes.size() * 2);
  for (const char byte : bytes) {
    const auto value = static_cast<unsigned char>(byte);
    text += digits[value >> 4];
    text += digits[value & 15];
  }
  return text;
}

std::string random_hex(size_t bytes) {
  std::string raw(bytes, '\0');
  if (RAND_bytes(reinterpret_cast<unsigned char*>(raw.data()), static_cast<int>(bytes)) != 1) {
    throw BugError("storage.random", "the system gives no random bytes");
  }
  return to_hex(raw);
}

void throw_file_error(std::string_view action, const fs::path& path, int error) {
  ErrorFacts facts{.where = path.string()};
  if (error == ENOSPC || error == EDQUOT) facts.hint = "free space there, or set export.directory to a disk that has it";
  if (error == EACCES || error == EROFS || error == EPERM) {
    facts.hint = "set export.directory to a directory this user may write, or change its permissions";
  }
  throw FileError("file.io", "cannot " + std::string(action) + ": " + std::generic_category().message(error), std::move(facts));
}

struct stat check_regular(const fs::path& file, const Descriptor& descriptor) {
  if (!descriptor && errno == ELOOP)
    throw FileError("file.link", "it is a symbolic link, which is not followed", {.where = file.string()});
  struct stat status {};
  if (!descriptor || ::fstat(descriptor.get(), &status) != 0) throw_file_error("open the file", file, errno);
  if (!S_ISREG(status.st_mode)) throw FileError("file.not_regular", "it is not a regular file", {.where = file.string()});
  return status;
}

void set_mode(int descriptor, FilePermissions permissions) {
  if (permissions != FilePermissions::umask) static_cast<void>(::fchmod(descriptor, file_mode(permissions)));
}

void make_directories(const fs::path& directory, FilePermissions permissions) {
  std::error_code error;
  if (fs::is_directory(directory, error)) return;
  const fs::path parent = directory.has_filename() ? directory.parent_path() : directory.parent_path().parent_path();
  if (!parent.empty() && parent != directory) make_directories(parent, permissions);
  const mode_t mode = directory_mode(permissions);
  if (::mkdir(directory.c_str(), mode) != 0) {
    if (errno != EEXIST) throw_file_error("make the directory", directory, errno);
    if (!fs::is_directory(directory, error)) throw_file_error("use it as a directory", directory, ENOTDIR);
    return;  // another run was quicker
  }
  if (permissions != FilePermissions::umask) static_cast<void>(::chmod(directory.c_str(), mode));
  // A parent that may be written and not read cannot be synced.
  if (::access(parent.empty() ? "." : parent.c_str(), R_OK) == 0) sync_directory(parent.empty() ? fs::path(".") : parent);
}

void warn_of_open_directory(const fs::path& exports, const fs::path& one, FilePermissions permissions) {
  static std::mutex mutex;
  static std::set<fs::path> told;
  for (const fs::path& directory : {exports, one}) {
    struct stat status {};
    if (::stat(directory.c_str(), &status) != 0 || !S_ISDIR(status.st_mode) || (status.st_mode & S_ISVTX) != 0) continue;
    if ((status.st_mode & 0777 & ~directory_mode(permissions)) == 0) return;
    {
      const std::lock_guard lock(mutex);
      if (!told.insert(directory).second) return;
    }
    const bool group = permissions == FilePermissions::group;
    log(LogLevel::warning,
        "{}: others may look into this directory (mode {:04o}), though [export] permissions is {}: chmod {} {}",
        directory.string(), status.st_mode & 07777, group ? "group" : "private", group ? "750" : "700", directory.string());
    return;
  }
}

void sync_directory(const fs::path& directory) {
  const Descriptor descriptor = open_carefully(directory, O_RDONLY | O_DIRECTORY, Links::follow);
  if (!descriptor) throw_file_error("open the directory", directory, errno);
  if (::fsync(descriptor.get()) == 0) return;
  // Some network file systems refuse fsync of a directory and make renames durable by themselves.
  if (errno != EINVAL && errno != ENOTSUP) throw_file_error("sync the directory", directory, errno);
}

DurableFile::DurableFile(fs::path temporary, fs::path target, FilePermissions permissions)
    : temporary_(std::move(temporary)), target_(std::move(target)) {
  // Written in place, a leftover could be another name of a file that is not ours.
  if (::unlink(temporary_.c_str()) != 0 && errno != ENOENT) throw_file_error("replace the file", temporary_, errno);
  descriptor_ = open_carefully(temporary_, O_WRONLY | O_CREAT | O_EXCL, Links::refuse, file_mode(permissions));
  if (!descriptor_) throw_file_error("create the file", temporary_, errno);
  set_mode(descriptor_.get(), permissions);
}

DurableFile::~DurableFile() {
  if (descriptor_) ::unlink(temporary_.c_str());
}

void DurableFile::write(const void* data, size_t size) {
  digest_.update(data, size);
  const char* next = static_cast<const char*>(data);
  for (size_t left = size; left > 0;) {
    const ssize_t written = ::write(descriptor_.get(), next, left);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) throw_file_error("write the file", temporary_, errno);
    next += written;
    left -= static_cast<size_t>(written);
  }
  size_ += static_cast<int64_t>(size);
}

std::string DurableFile::publish() {
  if (::fsync(descriptor_.get()) != 0) throw_file_error("sync the file", temporary_, errno);
  if (::rename(temporary_.c_str(), target_.c_str()) != 0) throw_file_error("rename the file to its name", target_, errno);
  descriptor_.reset();
  return digest_.hex();
}

}  // namespace snowmelt
