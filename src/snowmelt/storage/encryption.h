// Keys of an export's password (design D9, docs/encryption.md).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "snowmelt/secret.h"

namespace snowmelt {

// scrypt's cost. Written into manifests so that other readers need not know it; a manifest with another one is refused before any
// work is done for it.
inline constexpr uint64_t kScryptN = 1 << 15;
inline constexpr uint64_t kScryptR = 8;
inline constexpr uint64_t kScryptP = 1;

// Parquet modular encryption (AES-GCM, 256 bits), key = scrypt(password, salt, N=2^15, r=8, p=1, 32 bytes).
struct EncryptionKey {
  std::string bytes;     // 32, never printed
  std::string salt_hex;  // 16 random bytes an export
};

// The password of an export's files. Copies share the key that was derived last: all parts of an export have one salt, and each
// derivation takes 90 ms. It goes with the last copy. Any thread.
class FilePassword {
 public:
  FilePassword(Secret password);  // NOLINT: where a password is wanted, a Secret is one
  // Throws FileError for what is no salt.
  EncryptionKey key(const std::string& salt_hex) const;

 private:
  struct State;
  std::shared_ptr<State> state_;
};
std::string random_salt_hex();

// HMAC-SHA256 in hex, under a key of its own: HKDF-SHA256(key, no salt, "snowmelt manifest").
std::string manifest_mac(const EncryptionKey& key, std::string_view text);

// In a time that does not tell where they differ.
bool equal_in_constant_time(std::string_view a, std::string_view b);

}  // namespace snowmelt
