// Files as data comes in: regular ones, read through the descriptor that was checked.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>

#include "snowmelt/open_file.h"

namespace snowmelt {

// Has no position: several readers share one.
class InputFile {
 public:
  // Throws FileError: missing, a link where none is followed, not a regular file (a FIFO, a device, a directory).
  static std::shared_ptr<const InputFile> open(const std::filesystem::path& file, Links links);
  // Null where there is none.
  static std::shared_ptr<const InputFile> open_if_there(const std::filesystem::path& file, Links links);

  const std::filesystem::path& path() const { return path_; }
  // As it was when opened; what is written behind it later is not read.
  int64_t bytes() const { return bytes_; }
  // Gives fewer than `size` bytes only at the end. Throws FileError.
  size_t read(int64_t offset, void* data, size_t size) const;
  // Whether the file ends where it ended when it was opened.
  bool ends() const;

 private:
  InputFile(std::filesystem::path path, Descriptor descriptor, int64_t bytes)
      : path_(std::move(path)), descriptor_(std::move(descriptor)), bytes_(bytes) {}

  std::filesystem::path path_;
  Descriptor descriptor_;
  int64_t bytes_;
};

}  // namespace snowmelt
