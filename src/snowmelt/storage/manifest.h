// The manifest: written last, by rename after fsync. No manifest, no export.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "snowmelt/file_permissions.h"
#include "snowmelt/storage/encryption.h"
#include "snowmelt/storage/input_file.h"
#include "snowmelt/storage/source_type.h"

namespace snowmelt {

inline constexpr const char* kManifestName = "manifest.json";
extern const char* const kWriterName;  // "snowmelt 0.1.0", in manifests and Parquet files

// A column as the source declares it; recorded in each Parquet file too (key "snowmelt.columns"), so a file alone can be loaded
// exactly.
struct SourceColumn {
  std::string name;
  SourceType source_type;
  bool nullable = true;
};

struct PartInfo {
  std::string file;  // a plain file name inside the export's directory
  int64_t rows = 0;
  int64_t bytes = 0;
  std::string sha256;  // of the whole file, lower-case hex (what sha256sum prints)
};

// What else the source's metadata says. Best effort: empty where the role may not look, and for a query's result.
struct TableMetadata {
  std::vector<std::string> primary_key;  // columns in the key's order; Snowflake does not enforce it
  std::string comment;
  std::map<std::string, std::string> column_comments;
};

struct Manifest {
  std::string export_id;  // unique a run and table; part files carry it in their names
  std::string source;     // as the user wrote it, or the query's name
  std::string statement;  // the SQL that was run
  std::string query_id;
  std::string created_at;  // ISO 8601, UTC
  std::string writer;      // "snowmelt 0.1.0"
  int64_t rows = 0;
  int64_t bytes = 0;
  std::vector<SourceColumn> columns;  // empty for an encrypted export: names live inside the encrypted files (D9)
  TableMetadata metadata;             // empty for an encrypted export
  std::vector<PartInfo> parts;
  bool encrypted = false;
  std::string salt;  // of scrypt, hex; only when encrypted
};

// Throws FileError: missing ("no complete export in …"), unreadable, not ours, inconsistent sums, part names that leave the
// directory, an encrypted export without its password or whose HMAC another one made, a plain export where a password is given.
// VerificationError where its digest says that it was changed.
Manifest read_manifest(const std::filesystem::path& directory, const std::optional<FilePassword>& password = std::nullopt);

// Everything that makes the export durable happens before the rename: when this throws, the manifest in place is the one of
// before. A reader sees the old export or the new one. Afterwards parts of earlier exports are removed; what fails then is a
// warning. `key`: of an encrypted export, for the HMAC.
void publish_manifest(const std::filesystem::path& directory, const Manifest& manifest, const EncryptionKey* key = nullptr,
                      FilePermissions permissions = FilePermissions::private_);

// Removes what dead exports left: parts that the manifest in place does not name, and temporary files. Only under the
// directory's lock. A manifest that cannot be read keeps its parts. Best effort: what stays costs space only.
void sweep_parts(const std::filesystem::path& directory) noexcept;

// Removes `parts` of an export that failed, but none that the manifest in place names.
void remove_parts(const std::filesystem::path& directory, const std::vector<PartInfo>& parts) noexcept;

// True for names of our part files, "part-20260102T030405-0123abcd-00000.parquet" (".tmp" too), and false for what others call
// theirs (Spark: "part-00000-<uuid>-c000.snappy.parquet").
bool is_part_file(std::string_view name);

// Opens a part and holds its size and SHA-256 against the manifest: FileError for what is missing or no file, VerificationError
// for a difference. Cheap beside decoding (about 1.5 GB/s a core), and the only way to notice a part edited or cut short.
std::shared_ptr<const InputFile> verify_part(const std::filesystem::path& directory, const PartInfo& part);

// <base>/<source> with every byte outside [A-Za-z0-9._$-] percent-encoded, so that no source name leaves the directory or
// collides.
std::filesystem::path export_directory(const std::filesystem::path& base, const std::string& source);

}  // namespace snowmelt
