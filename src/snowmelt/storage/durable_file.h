// Files that are whole or absent: written under a temporary name, hashed on the way, renamed after fsync.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

#include "snowmelt/file_permissions.h"
#include "snowmelt/open_file.h"

namespace snowmelt {

// SHA-256 of what passes by (OpenSSL).
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  void update(const void* data, size_t size);
  std::string hex();  // ends the digest

 private:
  struct Context;
  std::unique_ptr<Context> context_;
};

std::string to_hex(std::string_view bytes);
std::string random_hex(size_t bytes);

// Throws FileError: "cannot <action> <path>: <errno's text>", with the remedy where errno has a usual one.
[[noreturn]] void throw_file_error(std::string_view action, const std::filesystem::path& path, int error);

// The status of a file just opened. FileError where that failed (errno says why), and for what is not a regular file.
struct stat check_regular(const std::filesystem::path& file, const Descriptor& descriptor);

// Gives a file its mode where umask(2) may have narrowed it. Best effort: some file systems have none.
void set_mode(int descriptor, FilePermissions permissions);

// Makes `directory` and its parents, durably; what exists keeps its mode. FileError names the one that cannot be made.
void make_directories(const std::filesystem::path& directory, FilePermissions permissions = FilePermissions::private_);

// For the directory of all exports and that of one: warns, once each process, of one that is there already and lets in others
// than `permissions` say. Below a directory that keeps them out it need not be looked; one that everybody shares (/tmp) is none
// of ours.
void warn_of_open_directory(const std::filesystem::path& exports, const std::filesystem::path& one, FilePermissions permissions);

// A rename is durable only once its directory is.
void sync_directory(const std::filesystem::path& directory);

// Destroyed before publish() it removes what it wrote.
class DurableFile {
 public:
  // Creates `temporary`, a new file whatever a dead run left under that name; publish() renames it to `target`, both in the same
  // directory.
  DurableFile(std::filesystem::path temporary, std::filesystem::path target,
              FilePermissions permissions = FilePermissions::private_);
  ~DurableFile();
  DurableFile(const DurableFile&) = delete;
  DurableFile& operator=(const DurableFile&) = delete;

  void write(const void* data, size_t size);
  int64_t size() const { return size_; }
  // fsync, rename; gives the SHA-256 of what was written. The new name is durable after sync_directory(). When this throws, the
  // file under `target` is the one of before.
  std::string publish();

 private:
  std::filesystem::path temporary_;
  std::filesystem::path target_;
  Descriptor descriptor_;
  int64_t size_ = 0;
  Sha256 digest_;
};

}  // namespace snowmelt
