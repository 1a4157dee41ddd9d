// The three things a path to load can be: an export with its manifest, one file, a directory of other people's files.
#include <fmt/format.h>

#include <algorithm>
#include <system_error>

#include "snowmelt/error.h"
#include "snowmelt/load/postgresql_data_loader.h"
#include "snowmelt/storage/manifest.h"
#include "snowmelt/storage/parquet_file.h"

namespace snowmelt {
namespace {

namespace fs = std::filesystem;

class ExportSource final : public PartSource {
 public:
  explicit ExportSource(fs::path directory) : directory_(std::move(directory)), manifest_(read_manifest(directory_)) {}
  std::optional<Part> next() override {
    if (next_ == manifest_.parts.size()) return std::nullopt;
    const PartInfo& part = manifest_.parts[next_++];
    verify_part(directory_, part);
    return Part{directory_ / part.file, manifest_.salt};
  }
  std::optional<int64_t> expected_rows() const override { return manifest_.rows; }
  std::string export_id() const override { return manifest_.export_id; }
  TableMetadata metadata() const override { return manifest_.metadata; }

 private:
  fs::path directory_;
  Manifest manifest_;
  size_t next_ = 0;
};

class FilesSource final : public PartSource {
 public:
  explicit FilesSource(std::vector<fs::path> files) : files_(std::move(files)) {}
  std::optional<Part> next() override {
    if (next_ == files_.size()) return std::nullopt;
    return Part{files_[next_++], {}};
  }

 private:
  std::vector<fs::path> files_;
  size_t next_ = 0;
};

std::vector<fs::path> parquet_files(const fs::path& directory) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(directory)) {
    if (entry.path().extension() == ".parquet") files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

}  // namespace

std::unique_ptr<PartSource> open_part_source(const fs::path& path) {
  try {
    if (!fs::is_directory(path))
      return std::make_unique<FilesSource>(std::vector{path});  // the reader says what is wrong with it
    std::vector<fs::path> files = parquet_files(path);
    // Parts of ours without a manifest are an export that did not end: read_manifest() says so.
    const bool ours =
        std::any_of(files.begin(), files.end(), [](const fs::path& file) { return is_part_file(file.filename().string()); });
    if (ours || files.empty() || fs::exists(path / kManifestName)) return std::make_unique<ExportSource>(path);
    return std::make_unique<FilesSource>(std::move(files));
  } catch (const fs::filesystem_error& error) {
    throw FileError("file.unreadable", error.code().message(),
                    {.where = path.string(), .hint = "check the path and its permissions"});
  }
}

}  // namespace snowmelt
