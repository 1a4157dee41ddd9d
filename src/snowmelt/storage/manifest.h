// The manifest: written last, by rename after fsync. No manifest, no export.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace snowmelt {

inline constexpr const char* kManifestName = "manifest.json";
extern const char* const kWriterName;  // "snowmelt 0.1.0", in manifests and Parquet files

// A column as the source declares it; recorded in each Parquet file too (key "snowmelt.columns"), so a file alone can be loaded
// exactly.
struct SourceColumn {
  std::string name;
  std::string source_type;  // "NUMBER(12,2)", "TIMESTAMP_NTZ(9)", "TEXT"
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
// directory.
Manifest read_manifest(const std::filesystem::path& directory);

// Publishes by temporary name, fsync, rename, fsync of the directory; then removes part files of earlier exports,
// those the manifest does not name. A reader sees the old export or the new one.
void publish_manifest(const std::filesystem::path& directory, const Manifest& manifest);

// True for names of our part files, "part-<export_id>-00000.parquet" (".tmp" too), and false for what others call theirs
// (Spark: "part-00000-<uuid>-c000.snappy.parquet").
bool is_part_file(std::string_view name);

// Size and SHA-256 of every part against the manifest: FileError for a missing file, VerificationError for a difference.
// Cheap beside decoding (about 1.5 GB/s a core), and the only way to notice a part edited or cut short.
void verify_part(const std::filesystem::path& directory, const PartInfo& part);

// <base>/<source> with every byte outside [A-Za-z0-9._$-] percent-encoded, so that no source name leaves the directory or
// collides.
std::filesystem::path export_directory(const std::filesystem::path& base, const std::string& source);

}  // namespace snowmelt
