#include "snowmelt/storage/durable_file.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <system_error>
#include <utility>

#include "snowmelt/error.h"

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

void make_directories(const fs::path& directory) {
  std::error_code error;
  fs::create_directories(directory, error);
  if (error) throw_file_error("make the directory", directory, error.value());
  if (!fs::is_directory(directory, error)) throw_file_error("use it as a directory", directory, ENOTDIR);
}

void sync_directory(const fs::path& directory) {
  const int descriptor = ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) throw_file_error("open the directory", directory, errno);
  const int result = ::fsync(descriptor);
  const int error = errno;
  ::close(descriptor);
  // Some network file systems refuse fsync of a directory (EINVAL) and make renames durable by themselves.
  if (result != 0 && error != EINVAL) throw_file_error("sync the directory", directory, error);
}

DurableFile::DurableFile(fs::path temporary, fs::path target) : temporary_(std::move(temporary)), target_(std::move(target)) {
  descriptor_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0666);
  if (descriptor_ < 0) throw_file_error("create the file", temporary_, errno);
}

DurableFile::~DurableFile() {
  if (descriptor_ < 0) return;
  ::close(descriptor_);
  ::unlink(temporary_.c_str());
}

void DurableFile::write(const void* data, size_t size) {
  digest_.update(data, size);
  const char* next = static_cast<const char*>(data);
  for (size_t left = size; left > 0;) {
    const ssize_t written = ::write(descriptor_, next, left);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) throw_file_error("write the file", temporary_, errno);
    next += written;
    left -= static_cast<size_t>(written);
  }
  size_ += static_cast<int64_t>(size);
}

std::string DurableFile::publish() {
  if (::fsync(descriptor_) != 0) throw_file_error("sync the file", temporary_, errno);
  if (::rename(temporary_.c_str(), target_.c_str()) != 0) throw_file_error("rename the file to its name", target_, errno);
  ::close(std::exchange(descriptor_, -1));
  sync_directory(target_.parent_path().empty() ? fs::path(".") : target_.parent_path());
  return digest_.hex();
}

}  // namespace snowmelt
