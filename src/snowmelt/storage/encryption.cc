#include <openssl/evp.h>

#include <mutex>

#include "snowmelt/error.h"
#include "snowmelt/storage/durable_file.h"
#include "snowmelt/storage/parquet_file.h"

namespace snowmelt {
namespace {

constexpr size_t kSaltBytes = 16;
constexpr size_t kKeyBytes = 32;
// N=2^15, r=8, p=1 take 32 MiB and about 90 ms: OpenSSL's own limit of 32 MiB is a few bytes too low.
constexpr uint64_t kScryptN = 1 << 15;
constexpr uint64_t kScryptR = 8;
constexpr uint64_t kScryptP = 1;
constexpr uint64_t kScryptMemoryMax = 64 << 20;

std::string from_hex(const std::string& text) {
  const auto digit = [](char c) { return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1; };
  std::string bytes;
  if (text.size() == 2 * kSaltBytes) {
    for (size_t i = 0; i < text.size(); i += 2) {
      const int high = digit(text[i]);
      const int low = digit(text[i + 1]);
      if (high < 0 || low < 0) break;
      bytes += static_cast<char>(high << 4 | low);
    }
  }
  if (bytes.size() != kSaltBytes) {
    throw FileError("encryption.bad_salt", "the salt of an encrypted export is not 32 hexadecimal digits",
                    {.hint = "the manifest was changed: export the table again"});
  }
  return bytes;
}

}  // namespace

EncryptionKey derive_encryption_key(const Secret& password, const std::string& salt_hex) {
  // All parts of an export have one salt: without this, a table of 100 parts would take 9 s to open.
  static std::mutex mutex;
  static Secret last_password;
  static EncryptionKey last_key;
  std::lock_guard lock(mutex);
  if (last_key.salt_hex == salt_hex && last_password == password && !last_key.bytes.empty()) return last_key;

  const std::string salt = from_hex(salt_hex);
  std::string key(kKeyBytes, '\0');
  const std::string& text = password.reveal();
  if (EVP_PBE_scrypt(text.data(), text.size(), reinterpret_cast<const unsigned char*>(salt.data()), salt.size(), kScryptN,
                     kScryptR, kScryptP, kScryptMemoryMax, reinterpret_cast<unsigned char*>(key.data()), key.size()) != 1) {
    throw BugError("encryption.scrypt", "OpenSSL could not derive the key");
  }
  last_password = password;
  last_key = {std::move(key), salt_hex};
  return last_key;
}

std::string random_salt_hex() { return random_hex(kSaltBytes); }

}  // namespace snowmelt
