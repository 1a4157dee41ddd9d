#include "snowmelt/storage/input_file.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>

#include "snowmelt/storage/durable_file.h"

namespace snowmelt {
namespace fs = std::filesystem;

std::shared_ptr<const InputFile> InputFile::open(const fs::path& file, Links links) {
  auto opened = open_if_there(file, links);
  if (!opened) throw_file_error("open the file", file, ENOENT);
  return opened;
}

std::shared_ptr<const InputFile> InputFile::open_if_there(const fs::path& file, Links links) {
  Descriptor descriptor = open_carefully(file, O_RDONLY, links);
  if (!descriptor && (errno == ENOENT || errno == ENOTDIR)) return nullptr;
  const struct stat status = check_regular(file, descriptor);
  return std::shared_ptr<const InputFile>(new InputFile(file, std::move(descriptor), status.st_size));
}

size_t InputFile::read(int64_t offset, void* data, size_t size) const {
  const auto wanted = static_cast<size_t>(std::clamp<int64_t>(bytes_ - offset, 0, static_cast<int64_t>(size)));
  const ssize_t got = read_fully(descriptor_.get(), static_cast<char*>(data), wanted, offset);
  if (got < 0) throw_file_error("read the file", path_, errno);
  return static_cast<size_t>(got);
}

bool InputFile::ends() const {
  char next;
  const ssize_t got = read_fully(descriptor_.get(), &next, 1, bytes_);
  if (got < 0) throw_file_error("read the file", path_, errno);
  return got == 0;
}

}  // namespace snowmelt
