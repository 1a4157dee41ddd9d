#include "snowmelt/storage/manifest.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>
#include <string_view>

#include "snowmelt/error.h"
#include "snowmelt/storage/durable_file.h"

namespace snowmelt {
namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

const char* const kWriterName = "snowmelt " SNOWMELT_VERSION;

namespace {

constexpr int kFormatVersion = 1;
// Only a complete export has a file with "manifest" in its name: the temporary one is called otherwise.
constexpr const char* kTemporaryName = ".publishing.tmp";
constexpr size_t kReadBytes = 1 << 20;
constexpr int64_t kManifestBytesMax = 64 << 20;  // 100,000 parts take 15 MB

Json to_json(const Manifest& manifest) {
  Json json{{"format", "snowmelt"},
            {"format_version", kFormatVersion},
            {"export_id", manifest.export_id},
            {"source", manifest.source},
            {"statement", manifest.statement},
            {"query_id", manifest.query_id},
            {"created_at", manifest.created_at},
            {"writer", manifest.writer},
            {"rows", manifest.rows},
            {"bytes", manifest.bytes},
            {"encrypted", manifest.encrypted}};
  if (manifest.encrypted) json["salt"] = manifest.salt;
  json["columns"] = Json::array();
  for (const SourceColumn& column : manifest.columns) {
    json["columns"].push_back({{"name", column.name}, {"source_type", column.source_type}, {"nullable", column.nullable}});
    const auto comment = manifest.metadata.column_comments.find(column.name);
    if (comment != manifest.metadata.column_comments.end()) json["columns"].back()["comment"] = comment->second;
  }
  if (!manifest.encrypted) {
    if (!manifest.metadata.primary_key.empty()) json["primary_key"] = manifest.metadata.primary_key;
    if (!manifest.metadata.comment.empty()) json["comment"] = manifest.metadata.comment;
  }
  json["parts"] = Json::array();
  for (const PartInfo& part : manifest.parts) {
    json["parts"].push_back({{"file", part.file}, {"rows", part.rows}, {"bytes", part.bytes}, {"sha256", part.sha256}});
  }
  return json;
}

Manifest from_json(const Json& json) {
  Manifest manifest;
  manifest.export_id = json.at("export_id");
  manifest.source = json.at("source");
  manifest.statement = json.at("statement");
  manifest.query_id = json.at("query_id");
  manifest.created_at = json.at("created_at");
  manifest.writer = json.at("writer");
  manifest.rows = json.at("rows");
  manifest.bytes = json.at("bytes");
  manifest.encrypted = json.at("encrypted");
  if (manifest.encrypted) manifest.salt = json.at("salt");
  for (const Json& column : json.at("columns")) {
    manifest.columns.push_back({column.at("name"), column.at("source_type"), column.at("nullable")});
    if (const auto comment = column.find("comment"); comment != column.end())
      manifest.metadata.column_comments[manifest.columns.back().name] = *comment;
  }
  manifest.metadata.primary_key = json.value("primary_key", std::vector<std::string>());
  manifest.metadata.comment = json.value("comment", "");
  for (const Json& part : json.at("parts")) {
    manifest.parts.push_back({part.at("file"), part.at("rows"), part.at("bytes"), part.at("sha256")});
  }
  return manifest;
}

[[noreturn]] void throw_bad_manifest(const fs::path& file, const std::string& what) {
  throw FileError("manifest.invalid", what,
                  {.where = file.string(), .hint = "export the table again; a manifest is not meant to be edited"});
}

// A part is a plain name: a manifest from elsewhere must not make us read, or later remove, any other file.
bool is_plain_name(const std::string& name) {
  return !name.empty() && name != "." && name != ".." && name.find('/') == std::string::npos &&
         name.find('\0') == std::string::npos;
}

void check_consistency(const fs::path& file, const Manifest& manifest) {
  int64_t rows = 0;
  int64_t bytes = 0;
  std::set<std::string> names;
  for (const PartInfo& part : manifest.parts) {
    if (!is_plain_name(part.file)) throw_bad_manifest(file, "the part name \"" + part.file + "\" leaves the export's directory");
    if (!names.insert(part.file).second) throw_bad_manifest(file, "the part " + part.file + " is named twice");
    if (part.rows < 0 || part.bytes < 0) throw_bad_manifest(file, "the part " + part.file + " has a negative size");
    rows += part.rows;
    bytes += part.bytes;
  }
  if (rows != manifest.rows || bytes != manifest.bytes) {
    throw_bad_manifest(file, "its parts sum up to " + std::to_string(rows) + " rows and " + std::to_string(bytes) +
                                 " bytes, it says " + std::to_string(manifest.rows) + " and " + std::to_string(manifest.bytes));
  }
}

class ReadDescriptor {
 public:
  explicit ReadDescriptor(const fs::path& file) : value_(::open(file.c_str(), O_RDONLY | O_CLOEXEC)) {}
  ~ReadDescriptor() {
    if (value_ >= 0) ::close(value_);
  }
  ReadDescriptor(const ReadDescriptor&) = delete;
  ReadDescriptor& operator=(const ReadDescriptor&) = delete;
  int get() const { return value_; }

 private:
  int value_;
};

// Calls `consume(data, size)` over the whole file.
template <typename Consume>
void read_file(const fs::path& file, int descriptor, Consume&& consume) {
  std::string buffer(kReadBytes, '\0');
  for (;;) {
    const ssize_t got = ::read(descriptor, buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw_file_error("read the file", file, errno);
    if (got == 0) return;
    consume(buffer.data(), static_cast<size_t>(got));
  }
}

void remove_other_parts(const fs::path& directory, const Manifest& manifest) {
  std::set<std::string> keep;
  for (const PartInfo& part : manifest.parts) keep.insert(part.file);
  std::error_code error;  // what cannot be removed costs space only: the manifest does not name it
  for (const auto& entry : fs::directory_iterator(directory, error)) {
    const std::string name = entry.path().filename().string();
    if (is_part_file(name) && !keep.contains(name)) fs::remove(entry.path(), error);
  }
}

}  // namespace

Manifest read_manifest(const fs::path& directory) {
  const fs::path file = directory / kManifestName;
  const ReadDescriptor descriptor(file);
  if (descriptor.get() < 0) {
    if (errno != ENOENT && errno != ENOTDIR) throw_file_error("open the manifest", file, errno);
    throw FileError("manifest.missing", "no complete export in " + directory.string(),
                    {.where = file.string(), .hint = "run `snowmelt export` first, or check export.directory"});
  }
  std::string text;
  read_file(file, descriptor.get(), [&](const char* data, size_t size) {
    text.append(data, size);
    if (static_cast<int64_t>(text.size()) > kManifestBytesMax) throw_bad_manifest(file, "it is too large to be a manifest");
  });
  Manifest manifest;
  try {
    const Json json = Json::parse(text);
    if (!json.is_object() || json.value("format", "") != "snowmelt") throw_bad_manifest(file, "it is not a manifest of snowmelt");
    if (json.value("format_version", 0) > kFormatVersion) {
      throw FileError("manifest.newer", "it was written by a newer snowmelt (format " + json.at("format_version").dump() + ")",
                      {.where = file.string(), .hint = "use that version, or export the table again"});
    }
    manifest = from_json(json);
  } catch (const Json::exception&) {
    throw_bad_manifest(file, "it is damaged: not the JSON that snowmelt writes");
  }
  check_consistency(file, manifest);
  return manifest;
}

bool is_part_file(std::string_view name) {
  constexpr std::string_view kTemporary = ".tmp", kSuffix = ".parquet";
  constexpr size_t kNumberDigits = 5;
  if (name.ends_with(kTemporary)) name.remove_suffix(kTemporary.size());
  if (!name.starts_with("part-") || !name.ends_with(kSuffix)) return false;
  name.remove_suffix(kSuffix.size());
  if (name.size() < kNumberDigits + 1 || name[name.size() - kNumberDigits - 1] != '-') return false;
  return name.find_first_not_of("0123456789", name.size() - kNumberDigits) == std::string_view::npos;
}

void publish_manifest(const fs::path& directory, const Manifest& manifest) {
  check_consistency(directory / kManifestName, manifest);
  // `replace`: a source name that is not UTF-8 must not keep the export from being published.
  const std::string text = to_json(manifest).dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
  DurableFile file(directory / kTemporaryName, directory / kManifestName);
  file.write(text.data(), text.size());
  file.publish();
  remove_other_parts(directory, manifest);
}

void verify_part(const fs::path& directory, const PartInfo& part) {
  const fs::path file = directory / part.file;
  const ReadDescriptor descriptor(file);
  if (descriptor.get() < 0) {
    throw FileError("manifest.part_missing",
                    std::string("the part that the manifest names cannot be opened: ") + std::strerror(errno),
                    {.where = file.string(), .hint = "export the table again"});
  }
  Sha256 digest;
  int64_t bytes = 0;
  read_file(file, descriptor.get(), [&](const char* data, size_t size) {
    digest.update(data, size);
    bytes += static_cast<int64_t>(size);
  });
  const std::string sha256 = digest.hex();
  if (bytes == part.bytes && sha256 == part.sha256) return;
  throw VerificationError(
      "manifest.part_differs",
      bytes != part.bytes ? "the file has " + std::to_string(bytes) + " bytes, the manifest says " + std::to_string(part.bytes)
                          : "the file's SHA-256 is " + sha256 + ", the manifest says " + part.sha256,
      {.where = file.string(), .hint = "the file was changed after the export: export the table again"});
}

fs::path export_directory(const fs::path& base, const std::string& source) {
  // File systems end at 255 bytes a name; longer ones keep a readable head and the digest of the whole.
  // "~" is encoded in every plain name, so the two forms never meet.
  constexpr size_t name_bytes_max = 200;
  static constexpr char digits[] = "0123456789ABCDEF";
  std::string name;
  for (const char byte : source) {
    const bool kept = (byte >= 'A' && byte <= 'Z') || (byte >= 'a' && byte <= 'z') || (byte >= '0' && byte <= '9') ||
                      byte == '.' || byte == '_' || byte == '$' || byte == '-';
    // A leading dot would hide the directory, and "." and ".." are not ours.
    if (kept && !(byte == '.' && name.empty())) {
      name += byte;
    } else {
      name += {'%', digits[static_cast<unsigned char>(byte) >> 4], digits[byte & 15]};
    }
  }
  if (name.empty()) name = "%";
  if (name.size() > name_bytes_max) {
    Sha256 digest;
    digest.update(source.data(), source.size());
    name = name.substr(0, name_bytes_max - 33) + "~" + digest.hex().substr(0, 32);
  }
  return base / name;
}

}  // namespace snowmelt
