// The three things a path to load can be: an export with its manifest, one file, a directory of other people's files.
#include <arrow/api.h>
#include <fmt/format.h>

#include <algorithm>
#include <system_error>

#include "snowmelt/error.h"
#include "snowmelt/load/part_source.h"
#include "snowmelt/log.h"
#include "snowmelt/storage/manifest.h"
#include "snowmelt/storage/parquet_file.h"

namespace snowmelt {
namespace {

namespace fs = std::filesystem;

class ExportSource final : public PartSource {
 public:
  // A directory without a manifest is nobody's to lock: read_manifest() says what it is.
  ExportSource(fs::path directory, const std::optional<FilePassword>& password, const LockWait& wait)
      : directory_(std::move(directory)),
        lock_(fs::exists(directory_ / kManifestName) ? DirectoryLock::shared(directory_, wait) : nullptr),
        manifest_(read_manifest(directory_, password)) {}
  std::optional<Part> next() override {
    if (next_ == manifest_.parts.size()) return std::nullopt;
    const PartInfo& part = manifest_.parts[next_++];
    return Part{directory_ / part.file, manifest_.salt, verify_part(directory_, part)};
  }
  std::optional<int64_t> expected_rows() const override { return manifest_.rows; }
  std::string export_id() const override { return manifest_.export_id; }
  TableMetadata metadata() const override { return manifest_.metadata; }

 private:
  fs::path directory_;
  std::shared_ptr<DirectoryLock> lock_;
  Manifest manifest_;
  size_t next_ = 0;
};

class FilesSource final : public PartSource {
 public:
  explicit FilesSource(std::vector<fs::path> files) : files_(std::move(files)) {}
  std::optional<Part> next() override {
    if (next_ == files_.size()) return std::nullopt;
    return Part{files_[next_++], {}, nullptr};
  }
  std::shared_ptr<arrow::Schema> merged_schema(const std::optional<FilePassword>& password) const override;

 private:
  std::vector<fs::path> files_;
  size_t next_ = 0;
};

// Snowflake's unload chooses the width of a number from the data, so files of one table may differ. Nothing is lost by widening;
// whatever would lose (numbers as text, integers as floats) stays an error.
arrow::Field::MergeOptions widening() {
  arrow::Field::MergeOptions options;
  options.promote_nullability = true;
  options.promote_decimal = true;
  options.promote_integer_to_decimal = true;
  options.promote_numeric_width = true;
  options.promote_integer_sign = true;
  options.promote_binary = true;
  options.promote_temporal_unit = true;
  options.promote_dictionary = true;
  options.promote_list = true;
  return options;
}

// Arrow merges decimals of 128 and 256 bits only.
std::shared_ptr<arrow::Schema> with_wide_decimals(const arrow::Schema& schema) {
  arrow::FieldVector fields;
  for (const auto& field : schema.fields()) {
    const auto id = field->type()->id();
    if (id != arrow::Type::DECIMAL32 && id != arrow::Type::DECIMAL64) {
      fields.push_back(field);
      continue;
    }
    const auto& decimal = static_cast<const arrow::DecimalType&>(*field->type());
    fields.push_back(field->WithType(arrow::decimal128(decimal.precision(), decimal.scale())));
  }
  return arrow::schema(std::move(fields));
}

std::string differences(const arrow::Schema& first, const arrow::Schema& merged) {
  std::string text;
  for (const auto& field : merged.fields()) {
    const auto before = first.GetFieldByName(field->name());
    if (before != nullptr && before->type()->Equals(*field->type())) continue;
    text += fmt::format("{}{} as {}", text.empty() ? "" : ", ", field->name(), field->type()->ToString());
  }
  return text;
}

std::shared_ptr<arrow::Schema> FilesSource::merged_schema(const std::optional<FilePassword>& password) const {
  std::shared_ptr<arrow::Schema> first, merged;
  bool differ = false;
  for (size_t i = 0; files_.size() > 1 && i < files_.size(); ++i) {
    const ParquetPartReader reader(files_[i], password, {});
    if (!first) {
      first = reader.schema();
      merged = with_wide_decimals(*first);
      continue;
    }
    if (reader.schema()->Equals(*first, /*check_metadata=*/false)) continue;
    differ = true;
    const auto unified = arrow::UnifySchemas({merged, with_wide_decimals(*reader.schema())}, widening());
    if (!unified.ok() || (*unified)->num_fields() != first->num_fields() ||
        reader.schema()->num_fields() != first->num_fields()) {
      throw FileError("parquet.schema_differs",
                      unified.ok() ? "its columns are not those of the first file"
                                   : "its types do not go with the other files': " + unified.status().message(),
                      {.where = files_[i].string(), .hint = "load the files one by one"});
    }
    merged = *unified;
  }
  if (!differ) return nullptr;
  log(LogLevel::warning, "{}: the files differ in types; read with the widest ({})", files_.front().parent_path().string(),
      differences(*with_wide_decimals(*first), *merged));
  return merged;
}

std::vector<fs::path> parquet_files(const fs::path& directory) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(directory)) {
    if (entry.path().extension() == ".parquet") files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

}  // namespace

std::shared_ptr<arrow::Schema> PartSource::merged_schema(const std::optional<FilePassword>&) const { return nullptr; }

std::unique_ptr<PartSource> open_part_source(const fs::path& path, const std::optional<FilePassword>& password) {
  return open_part_source(path, password, LockWait{});
}

std::unique_ptr<PartSource> open_part_source(const fs::path& path, const std::optional<FilePassword>& password,
                                             const LockWait& wait) {
  try {
    if (!fs::is_directory(path))
      return std::make_unique<FilesSource>(std::vector{path});  // the reader says what is wrong with it
    std::vector<fs::path> files = parquet_files(path);
    // Parts of ours without a manifest are an export that did not end: read_manifest() says so.
    const bool ours =
        std::any_of(files.begin(), files.end(), [](const fs::path& file) { return is_part_file(file.filename().string()); });
    if (ours || files.empty() || fs::exists(path / kManifestName)) return std::make_unique<ExportSource>(path, password, wait);
    return std::make_unique<FilesSource>(std::move(files));
  } catch (const fs::filesystem_error& error) {
    throw FileError("file.unreadable", error.code().message(),
                    {.where = path.string(), .hint = "check the path and its permissions"});
  }
}

}  // namespace snowmelt
