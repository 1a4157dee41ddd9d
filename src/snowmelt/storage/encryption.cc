#include "snowmelt/storage/encryption.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/kdf.h>

#include <array>
#include <memory>
#include <mutex>
#include <utility>

#include "snowmelt/error.h"
#include "snowmelt/storage/durable_file.h"

namespace snowmelt {
namespace {

constexpr size_t kSaltBytes = 16;
constexpr size_t kKeyBytes = 32;
// N=2^15, r=8, p=1 take 32 MiB and about 90 ms: OpenSSL's own limit of 32 MiB is a few bytes too low.
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

using Bytes = const unsigned char*;

// One key for one purpose: the parts' own key never signs.
std::string expand(const std::string& key, std::string_view purpose) {
  std::string derived(kKeyBytes, '\0');
  size_t size = derived.size();
  const std::unique_ptr<EVP_PKEY_CTX, decltype(&EVP_PKEY_CTX_free)> context(EVP_PKEY_CTX_new_id(EVP_PKEY_HKDF, nullptr),
                                                                            &EVP_PKEY_CTX_free);
  if (!context || EVP_PKEY_derive_init(context.get()) != 1 || EVP_PKEY_CTX_set_hkdf_md(context.get(), EVP_sha256()) != 1 ||
      EVP_PKEY_CTX_set1_hkdf_key(context.get(), reinterpret_cast<Bytes>(key.data()), static_cast<int>(key.size())) != 1 ||
      EVP_PKEY_CTX_add1_hkdf_info(context.get(), reinterpret_cast<Bytes>(purpose.data()), static_cast<int>(purpose.size())) !=
          1 ||
      EVP_PKEY_derive(context.get(), reinterpret_cast<unsigned char*>(derived.data()), &size) != 1) {
    throw BugError("encryption.hkdf", "OpenSSL could not derive the key");
  }
  return derived;
}

}  // namespace

struct FilePassword::State {
  const Secret password;
  std::mutex mutex;
  EncryptionKey last;
};

FilePassword::FilePassword(Secret password) : state_(new State{.password = std::move(password), .mutex = {}, .last = {}}) {}

EncryptionKey FilePassword::key(const std::string& salt_hex) const {
  const std::lock_guard lock(state_->mutex);
  if (state_->last.salt_hex == salt_hex && !state_->last.bytes.empty()) return state_->last;

  const std::string salt = from_hex(salt_hex);
  std::string key(kKeyBytes, '\0');
  const std::string& text = state_->password.reveal();
  if (EVP_PBE_scrypt(text.data(), text.size(), reinterpret_cast<const unsigned char*>(salt.data()), salt.size(), kScryptN,
                     kScryptR, kScryptP, kScryptMemoryMax, reinterpret_cast<unsigned char*>(key.data()), key.size()) != 1) {
    throw BugError("encryption.scrypt", "OpenSSL could not derive the key");
  }
  state_->last = {std::move(key), salt_hex};
  return state_->last;
}

std::string manifest_mac(const EncryptionKey& key, std::string_view text) {
  const std::string own = expand(key.bytes, "snowmelt manifest");
  std::array<unsigned char, EVP_MAX_MD_SIZE> mac{};
  unsigned int size = 0;
  if (HMAC(EVP_sha256(), own.data(), static_cast<int>(own.size()), reinterpret_cast<Bytes>(text.data()), text.size(), mac.data(),
           &size) == nullptr) {
    throw BugError("encryption.hmac", "OpenSSL could not compute the HMAC");
  }
  return to_hex({reinterpret_cast<const char*>(mac.data()), size});
}

bool equal_in_constant_time(std::string_view a, std::string_view b) {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

std::string random_salt_hex() { return random_hex(kSaltBytes); }

}  // namespace snowmelt
