#include "snowmelt/storage/manifest.h"

#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <string_view>

#include "snowmelt/error.h"
#include "snowmelt/log.h"
#include "snowmelt/storage/durable_file.h"

namespace snowmelt {
namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

const char* const kWriterName = "snowmelt " SNOWMELT_VERSION;

namespace {

// 2: with a digest or an HMAC. Plain exports of version 1 are read, encrypted ones are not: nothing authenticates them.
constexpr int kFormatVersion = 2;
constexpr const char* kDigestKey = "sha256";
constexpr const char* kMacKey = "hmac_sha256";
// Only a complete export has a file with "manifest" in its name: the temporary one is called otherwise.
constexpr const char* kTemporaryName = ".publishing.tmp";
constexpr std::string_view kTemporarySuffix = ".tmp";
constexpr size_t kReadBytes = 1 << 20;
constexpr int64_t kManifestBytesMax = 64 << 20;  // 100,000 parts take 15 MB
constexpr int kDepthMax = 8;                     // ours has 3
constexpr int64_t kValuesMax = 4 << 20;          // a part has 6

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
  if (manifest.encrypted) {
    json["salt"] = manifest.salt;
    json["scrypt"] = {{"n", kScryptN}, {"r", kScryptR}, {"p", kScryptP}};
  }
  json["columns"] = Json::array();
  for (const SourceColumn& column : manifest.columns) {
    json["columns"].push_back({{"name", column.name}, {"source_type", column.source_type.text()}, {"nullable", column.nullable}});
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

// What the manifest says of itself is wrong; the reader adds the file.
struct BadManifest {
  std::string what;
};

int64_t count(const Json& value) {
  if (!value.is_number_integer()) {
    const std::string found = value.is_number() ? value.dump() : std::string("a ") + value.type_name();
    throw BadManifest{"it is damaged: " + found + " is no whole number"};
  }
  if (value.is_number_unsigned() && value.get<uint64_t>() > uint64_t{std::numeric_limits<int64_t>::max()})
    throw BadManifest{"it is damaged: " + value.dump() + " is out of range"};
  const auto number = value.get<int64_t>();
  if (number < 0) throw BadManifest{"it is damaged: " + value.dump() + " is negative"};
  return number;
}

Manifest from_json(const Json& json) {
  Manifest manifest;
  manifest.export_id = json.at("export_id");
  manifest.source = json.at("source");
  manifest.statement = json.at("statement");
  manifest.query_id = json.at("query_id");
  manifest.created_at = json.at("created_at");
  manifest.writer = json.at("writer");
  manifest.rows = count(json.at("rows"));
  manifest.bytes = count(json.at("bytes"));
  manifest.encrypted = json.at("encrypted");
  if (manifest.encrypted) manifest.salt = json.at("salt");
  for (const Json& column : json.at("columns")) {
    const std::string name = column.at("name");
    const std::string text = column.at("source_type");
    const auto source_type = SourceType::parse(text);
    if (!source_type) throw BadManifest{unknown_source_type(name, text)};
    manifest.columns.push_back({name, *source_type, column.at("nullable")});
    if (const auto comment = column.find("comment"); comment != column.end())
      manifest.metadata.column_comments[manifest.columns.back().name] = *comment;
  }
  manifest.metadata.primary_key = json.value("primary_key", std::vector<std::string>());
  manifest.metadata.comment = json.value("comment", "");
  for (const Json& part : json.at("parts")) {
    manifest.parts.push_back({part.at("file"), count(part.at("rows")), count(part.at("bytes")), part.at("sha256")});
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
    if (__builtin_add_overflow(rows, part.rows, &rows) || __builtin_add_overflow(bytes, part.bytes, &bytes))
      throw_bad_manifest(file, "its parts sum up to more than 64 bits hold");
  }
  if (rows != manifest.rows || bytes != manifest.bytes) {
    throw_bad_manifest(file, "its parts sum up to " + std::to_string(rows) + " rows and " + std::to_string(bytes) +
                                 " bytes, it says " + std::to_string(manifest.rows) + " and " + std::to_string(manifest.bytes));
  }
}

// The JSON without white space, keys in the file's order: what digest and HMAC are made of.
// `replace`: a source name that is not UTF-8 must not keep the export from being published.
std::string canonical(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

std::string sha256_of(const std::string& text) {
  Sha256 digest;
  digest.update(text.data(), text.size());
  return digest.hex();
}

void add_digest(Json& json, const EncryptionKey* key) {
  const std::string text = canonical(json);
  if (key != nullptr) {
    json[kMacKey] = manifest_mac(*key, text);
  } else {
    json[kDigestKey] = sha256_of(text);
  }
}

// Nothing of a manifest that a password should vouch for is believed before this.
void check_mac(const fs::path& file, Json json, const Manifest& manifest, const std::optional<FilePassword>& password) {
  if (!password) {
    throw FileError("manifest.encrypted", "the export is encrypted and no password was given",
                    {.where = file.string(), .hint = "give the password of the export"});
  }
  const std::string mac = json.value(kMacKey, "");
  if (mac.empty()) {
    throw FileError("manifest.not_authenticated", "the manifest of an encrypted export carries no HMAC",
                    {.where = file.string(), .hint = "it was made by an earlier snowmelt, or changed: export the table again"});
  }
  const Json scrypt{{"n", kScryptN}, {"r", kScryptR}, {"p", kScryptP}};
  if (json.value("scrypt", Json()) != scrypt) throw BadManifest{"its scrypt parameters are not those of snowmelt"};
  json.erase(kMacKey);
  if (equal_in_constant_time(mac, manifest_mac(password->key(manifest.salt), canonical(json)))) return;
  throw FileError("manifest.wrong_password", "the manifest is not this password's: a wrong password, or the manifest was changed",
                  {.where = file.string(), .hint = "give the password of the export, or export the table again"});
}

void check_digest(const fs::path& file, Json json, const std::optional<FilePassword>& password) {
  if (password) {
    throw FileError(
        "manifest.not_encrypted", "a password was given, and the export is not encrypted: anybody may have made it",
        {.where = file.string(), .hint = "give no password (SNOWMELT_PASSWORD, or the argument) to load it all the same"});
  }
  const std::string digest = json.value(kDigestKey, "");
  if (digest.empty() && count(json.at("format_version")) < 2) return;  // written before there were digests
  json.erase(kDigestKey);
  if (digest == sha256_of(canonical(json))) return;
  throw VerificationError("manifest.changed", "the manifest was changed after the export: its digest is another one",
                          {.where = file.string(), .hint = "export the table again; a manifest is not meant to be edited"});
}

// Null where there is none.
std::optional<std::string> read_text(const fs::path& file) {
  const auto input = InputFile::open_if_there(file, Links::refuse);
  if (!input) return std::nullopt;
  if (input->bytes() > kManifestBytesMax) throw BadManifest{"it is too large to be a manifest"};
  std::string text(static_cast<size_t>(input->bytes()), '\0');
  if (input->read(0, text.data(), text.size()) != text.size() || !input->ends())
    throw BadManifest{"it was changed while it was read"};
  return text;
}

Json parse(const std::string& text) {
  int64_t values = 0;
  Json json = Json::parse(text, [&](int depth, Json::parse_event_t, const Json&) {
    if (depth > kDepthMax || ++values > 2 * kValuesMax) throw BadManifest{"it is nested or filled as no manifest is"};
    return true;
  });
  if (!json.is_object() || json.value("format", "") != "snowmelt") throw BadManifest{"it is not a manifest of snowmelt"};
  return json;
}

// Of the manifest in place, for whoever removes parts; nullopt where it cannot be read: then nobody knows what it names.
std::optional<std::set<std::string>> parts_in_place(const fs::path& directory) {
  std::set<std::string> names;
  try {
    if (const auto text = read_text(directory / kManifestName)) {
      const Json json = parse(*text);
      for (const Json& part : json.at("parts")) names.insert(part.at("file").get<std::string>());
    }
  } catch (const std::exception& error) {
    log(LogLevel::debug, "{}: {}", directory.string(), error.what());
    return std::nullopt;
  } catch (const BadManifest& bad) {
    log(LogLevel::debug, "{}: {}", directory.string(), bad.what);
    return std::nullopt;
  }
  return names;
}

}  // namespace

Manifest read_manifest(const fs::path& directory, const std::optional<FilePassword>& password) {
  const fs::path file = directory / kManifestName;
  try {
    const auto text = read_text(file);
    if (!text) {
      throw FileError("manifest.missing", "no complete export in " + directory.string(),
                      {.where = file.string(), .hint = "run `snowmelt export` first, or check export.directory"});
    }
    const Json json = parse(*text);
    if (count(json.at("format_version")) > kFormatVersion) {
      throw FileError("manifest.newer", "it was written by a newer snowmelt (format " + json.at("format_version").dump() + ")",
                      {.where = file.string(), .hint = "use that version, or export the table again"});
    }
    const Manifest manifest = from_json(json);
    check_consistency(file, manifest);
    manifest.encrypted ? check_mac(file, json, manifest, password) : check_digest(file, json, password);
    return manifest;
  } catch (const BadManifest& bad) {
    throw_bad_manifest(file, bad.what);
  } catch (const Json::exception&) {
    throw_bad_manifest(file, "it is damaged: not the JSON that snowmelt writes");
  } catch (FileError& error) {
    if (error.where().empty()) error.add_where(file.string());  // the salt's error knows no file
    throw;
  }
}

bool is_part_file(std::string_view name) {
  constexpr std::string_view kPrefix = "part-", kSuffix = ".parquet";
  constexpr std::string_view kId = "00000000T000000-xxxxxxxx-";  // 0: a digit, x: a hexadecimal one
  constexpr size_t kNumberDigits = 5;
  if (name.ends_with(kTemporarySuffix)) name.remove_suffix(kTemporarySuffix.size());
  if (!name.starts_with(kPrefix) || !name.ends_with(kSuffix)) return false;
  name = name.substr(kPrefix.size(), name.size() - kPrefix.size() - kSuffix.size());
  if (name.size() < kId.size() + kNumberDigits) return false;
  for (size_t i = 0; i < name.size(); ++i) {
    const char wanted = i < kId.size() ? kId[i] : '0';
    const bool digit = name[i] >= '0' && name[i] <= '9';
    const bool fits = wanted == '0' ? digit : wanted == 'x' ? digit || (name[i] >= 'a' && name[i] <= 'f') : name[i] == wanted;
    if (!fits) return false;
  }
  return true;
}

void publish_manifest(const fs::path& directory, const Manifest& manifest, const EncryptionKey* key,
                      FilePermissions permissions) {
  check_consistency(directory / kManifestName, manifest);
  if (manifest.encrypted != (key != nullptr)) throw BugError("manifest.key", "an encrypted export and its key go together");
  Json json = to_json(manifest);
  add_digest(json, key);
  const std::string text = json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
  DurableFile file(directory / kTemporaryName, directory / kManifestName, permissions);
  file.write(text.data(), text.size());
  sync_directory(directory);  // the parts' names
  file.publish();
  try {
    sync_directory(directory);
  } catch (const FileError& error) {
    // Until then a power failure may bring the earlier manifest back: its parts stay, the next export sweeps them.
    log(LogLevel::warning, "{}: the export is complete; whether it would outlive a power failure is not known ({})",
        directory.string(), error.message());
    return;
  }
  sweep_parts(directory);
}

void sweep_parts(const fs::path& directory) noexcept try {
  const auto named = parts_in_place(directory);
  std::error_code ignored;
  fs::remove(directory / kTemporaryName, ignored);
  for (const auto& entry : fs::directory_iterator(directory)) {
    const std::string name = entry.path().filename().string();
    if (is_part_file(name) && (named ? !named->contains(name) : name.ends_with(kTemporarySuffix)))
      fs::remove(entry.path(), ignored);
  }
} catch (const std::exception& error) {
  log(LogLevel::debug, "{} is not swept: {}", directory.string(), error.what());
}

void remove_parts(const fs::path& directory, const std::vector<PartInfo>& parts) noexcept try {
  if (parts.empty()) return;
  const auto named = parts_in_place(directory);
  std::error_code ignored;
  for (const PartInfo& part : parts) {
    if (named && !named->contains(part.file)) fs::remove(directory / part.file, ignored);
  }
} catch (const std::exception& error) {
  log(LogLevel::debug, "{}: parts stay: {}", directory.string(), error.what());
}

std::shared_ptr<const InputFile> verify_part(const fs::path& directory, const PartInfo& part) {
  const fs::path file = directory / part.file;
  auto input = InputFile::open_if_there(file, Links::refuse);
  if (!input) {
    throw FileError("manifest.part_missing", "the part that the manifest names is not there",
                    {.where = file.string(), .hint = "export the table again"});
  }
  const auto differs = [&](const std::string& what) {
    throw VerificationError("manifest.part_differs", what,
                            {.where = file.string(), .hint = "the file was changed after the export: export the table again"});
  };
  if (input->bytes() != part.bytes || !input->ends()) {
    differs("the file has " + std::to_string(input->bytes()) + " bytes, the manifest says " + std::to_string(part.bytes));
  }
  Sha256 digest;
  std::string buffer(kReadBytes, '\0');
  for (int64_t at = 0; at < part.bytes;) {
    const size_t got = input->read(at, buffer.data(), buffer.size());
    if (got == 0) differs("the file was cut short while it was read");
    digest.update(buffer.data(), got);
    at += static_cast<int64_t>(got);
  }
  const std::string sha256 = digest.hex();
  if (sha256 != part.sha256) differs("the file's SHA-256 is " + sha256 + ", the manifest says " + part.sha256);
  return input;
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
