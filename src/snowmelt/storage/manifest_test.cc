#include "snowmelt/storage/manifest.h"

#include <gtest/gtest.h>

#include <set>

#include "snowmelt/error.h"
#include "snowmelt/storage/durable_file.h"
#include "snowmelt/storage/test_directory.h"

namespace snowmelt {
namespace {

namespace fs = std::filesystem;

// echo -n abc | sha256sum
constexpr const char* kDigestOfAbc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

Manifest example() {
  Manifest manifest;
  manifest.export_id = "20260102T030405-00ff00ff";
  manifest.source = "SALES.PUBLIC.\"Größe\"";
  manifest.statement = "select * from SALES.PUBLIC.\"Größe\"";
  manifest.query_id = "01b2-c3";
  manifest.created_at = "2026-01-02T03:04:05Z";
  manifest.writer = kWriterName;
  manifest.rows = 3;
  manifest.bytes = 3;
  manifest.columns = {{"A", "NUMBER(12,2)", false}, {"b c", "TEXT", true}};
  manifest.parts = {{"part-a-00000.parquet", 3, 3, kDigestOfAbc}};
  return manifest;
}

template <typename E, typename Call>
std::string code_of(Call&& call) {
  try {
    call();
  } catch (const E& error) {
    return error.code();
  }
  return "nothing thrown";
}

TEST(Manifest, comes_back_as_it_was_published) {
  const TestDirectory directory;
  publish_manifest(directory.path(), example());
  const Manifest manifest = read_manifest(directory.path());
  EXPECT_EQ(manifest.source, example().source);
  EXPECT_EQ(manifest.query_id, "01b2-c3");
  EXPECT_EQ(manifest.rows, 3);
  ASSERT_EQ(manifest.columns.size(), 2U);
  EXPECT_EQ(manifest.columns[0].source_type, "NUMBER(12,2)");
  EXPECT_FALSE(manifest.columns[0].nullable);
  ASSERT_EQ(manifest.parts.size(), 1U);
  EXPECT_EQ(manifest.parts[0].sha256, kDigestOfAbc);
  EXPECT_EQ(file_names(directory.path()), std::vector<std::string>{"manifest.json"});
}

TEST(Manifest, publishing_removes_older_parts_and_nothing_else) {
  const TestDirectory directory;
  for (const char* name :
       {"part-a-00000.parquet", "part-old-00000.parquet", "part-old-00001.parquet.tmp", "notes.txt", "mine.parquet"}) {
    write_file(directory.path() / name, "abc");
  }
  publish_manifest(directory.path(), example());
  EXPECT_EQ(file_names(directory.path()),
            (std::vector<std::string>{"manifest.json", "mine.parquet", "notes.txt", "part-a-00000.parquet"}));
}

TEST(Manifest, missing_or_damaged_is_one_clear_error) {
  const TestDirectory directory;
  const fs::path file = directory.path() / kManifestName;
  const auto read = [&] { read_manifest(directory.path()); };
  EXPECT_EQ(code_of<FileError>(read), "manifest.missing");
  EXPECT_EQ(code_of<FileError>([&] { read_manifest(directory.path() / "none"); }), "manifest.missing");

  publish_manifest(directory.path(), example());
  const std::string good = read_file(file);
  struct Damage {
    const char* from;
    const char* to;
    const char* code;
  };
  for (const Damage& damage :
       {Damage{"\"snowmelt\"", "\"other\"", "manifest.invalid"}, Damage{"\"rows\": 3", "\"rows\": 4", "manifest.invalid"},
        Damage{"\"part-a-00000.parquet\"", "\"../part-a\"", "manifest.invalid"},
        Damage{"\"part-a-00000.parquet\"", "\"..\"", "manifest.invalid"},
        Damage{"\"rows\": 3", "\"rows\": \"3\"", "manifest.invalid"}, Damage{"\"sha256\"", "\"sha\"", "manifest.invalid"},
        Damage{"\"format_version\": 1", "\"format_version\": 2", "manifest.newer"}, Damage{"{", "", "manifest.invalid"}}) {
    std::string bad = good;
    bad.replace(bad.find(damage.from), std::string(damage.from).size(), damage.to);
    write_file(file, bad);
    EXPECT_EQ(code_of<FileError>(read), damage.code) << damage.from << " -> " << damage.to;
  }
  write_file(file, "");
  EXPECT_EQ(code_of<FileError>(read), "manifest.invalid");
}

TEST(Manifest, a_part_that_changed_is_noticed) {
  const TestDirectory directory;
  const PartInfo part = example().parts[0];
  EXPECT_EQ(code_of<FileError>([&] { verify_part(directory.path(), part); }), "manifest.part_missing");
  write_file(directory.path() / part.file, "abc");
  verify_part(directory.path(), part);
  for (const char* text : {"ab", "abd", "abcd", ""}) {
    write_file(directory.path() / part.file, text);
    EXPECT_EQ(code_of<VerificationError>([&] { verify_part(directory.path(), part); }), "manifest.part_differs") << text;
  }
}

TEST(Manifest, no_source_name_leaves_the_directory_or_collides) {
  const std::vector<std::string> hostile{"..",
                                         ".",
                                         "",
                                         "/",
                                         "../../etc/passwd",
                                         "a/b",
                                         "a%2Fb",
                                         "A",
                                         "a",
                                         "A B",
                                         "A%20B",
                                         "\"A\"",
                                         "~",
                                         "a\nb",
                                         ".hidden",
                                         "x",
                                         std::string(300, 'x'),
                                         std::string(301, 'x'),
                                         std::string(200, '/')};
  std::set<std::string> names;
  for (const std::string& source : hostile) {
    const fs::path path = export_directory("base", source);
    EXPECT_EQ(path.parent_path(), "base") << source;
    const std::string name = path.filename().string();
    EXPECT_NE(name, "..");
    EXPECT_NE(name, ".");
    EXPECT_FALSE(name.starts_with(".")) << source;
    EXPECT_LE(name.size(), 200U);
    names.insert(name);
  }
  EXPECT_EQ(names.size(), hostile.size());
  EXPECT_EQ(export_directory("base", "SALES.PUBLIC.ORDERS$1-x"), "base/SALES.PUBLIC.ORDERS$1-x");
}

TEST(DurableFile, removes_itself_unless_published) {
  const TestDirectory directory;
  { DurableFile(directory.path() / "a.tmp", directory.path() / "a").write("abc", 3); }
  EXPECT_TRUE(file_names(directory.path()).empty());
  DurableFile file(directory.path() / "a.tmp", directory.path() / "a");
  file.write("ab", 2);
  file.write("c", 1);
  EXPECT_EQ(file.publish(), kDigestOfAbc);
  EXPECT_EQ(file_names(directory.path()), std::vector<std::string>{"a"});
}

TEST(DurableFile, follows_no_link_and_names_the_remedy) {
  if (!fs::exists("/dev/full")) GTEST_SKIP();
  const TestDirectory directory;
  // A link put under the temporary name must not make us write elsewhere.
  fs::create_symlink("/dev/full", directory.path() / "full");
  try {
    DurableFile file(directory.path() / "full", directory.path() / "a");
    FAIL() << "a symlink was followed";
  } catch (const FileError& error) {
    EXPECT_EQ(error.code(), "file.io");
  }
  try {
    throw_file_error("write the file", "x", ENOSPC);
  } catch (const FileError& error) {
    EXPECT_NE(error.hint().find("export.directory"), std::string::npos);
  }
}

}  // namespace
}  // namespace snowmelt
