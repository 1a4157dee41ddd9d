#include "snowmelt/storage/manifest.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <functional>
#include <mutex>
#include <set>
#include <thread>
#include <utility>

#include "snowmelt/error.h"
#include "snowmelt/log.h"
#include "snowmelt/storage/directory_lock.h"
#include "snowmelt/storage/durable_file.h"
#include "snowmelt/storage/test_directory.h"

namespace snowmelt {
namespace {

namespace fs = std::filesystem;

// echo -n abc | sha256sum
constexpr const char* kPart = "part-20260102T030405-00ff00ff-00000.parquet";
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
  manifest.parts = {{kPart, 3, 3, kDigestOfAbc}};
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
  EXPECT_EQ(manifest.columns[0].source_type.text(), "NUMBER(12,2)");
  EXPECT_FALSE(manifest.columns[0].nullable);
  ASSERT_EQ(manifest.parts.size(), 1U);
  EXPECT_EQ(manifest.parts[0].sha256, kDigestOfAbc);
  EXPECT_EQ(file_names(directory.path()), std::vector<std::string>{"manifest.json"});
}

TEST(Manifest, publishing_removes_older_parts_and_nothing_else) {
  const TestDirectory directory;
  const std::vector<std::string> others{"mine.parquet", "notes.txt", "part-00000-5c1f-c000.snappy.parquet",
                                        "part-a-00000.parquet"};
  for (const std::string& name : others) write_file(directory.path() / name, "abc");
  for (const char* name :
       {kPart, "part-20251231T235959-0123abcd-00000.parquet", "part-20251231T235959-0123abcd-00001.parquet.tmp"})
    write_file(directory.path() / name, "abc");
  publish_manifest(directory.path(), example());
  EXPECT_EQ(file_names(directory.path()),
            (std::vector<std::string>{"manifest.json", others[0], others[1], others[2], kPart, others[3]}));
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
  const std::string quoted = "\"" + std::string(kPart) + "\"";
  for (const Damage& damage :
       {Damage{"\"snowmelt\"", "\"other\"", "manifest.invalid"}, Damage{"\"rows\": 3", "\"rows\": 4", "manifest.invalid"},
        Damage{"\"rows\": 3", "\"rows\": 3.0", "manifest.invalid"}, Damage{"\"rows\": 3", "\"rows\": -3", "manifest.invalid"},
        Damage{"\"rows\": 3", "\"rows\": 18446744073709551615", "manifest.invalid"},
        Damage{"\"rows\": 3", "\"rows\": 1e400", "manifest.invalid"}, Damage{quoted.c_str(), "\"../part-a\"", "manifest.invalid"},
        Damage{quoted.c_str(), "\"..\"", "manifest.invalid"}, Damage{"\"rows\": 3", "\"rows\": \"3\"", "manifest.invalid"},
        Damage{"\"nullable\": false", "\"nullable\": 0", "manifest.invalid"},
        Damage{"NUMBER(12,2)", "NUMBER(12,2) primary key", "manifest.invalid"}, Damage{"TEXT", "text", "manifest.invalid"},
        Damage{"\"parts\": [", "\"parts\": [[[[[[[[[[[[", "manifest.invalid"},
        Damage{"\"format_version\": 2", "\"format_version\": 2.5", "manifest.invalid"},
        Damage{"\"format_version\": 2", "\"format_version\": 3", "manifest.newer"}, Damage{"{", "", "manifest.invalid"}}) {
    std::string bad = good;
    bad.replace(bad.find(damage.from), std::string(damage.from).size(), damage.to);
    write_file(file, bad);
    EXPECT_EQ(code_of<FileError>(read), damage.code) << damage.from << " -> " << damage.to;
  }
  write_file(file, "");
  EXPECT_EQ(code_of<FileError>(read), "manifest.invalid");
}

TEST(Manifest, counts_that_sum_up_beyond_64_bits_are_refused) {
  const TestDirectory directory;
  Manifest manifest = example();
  manifest.parts = {{"a", INT64_MAX, 3, kDigestOfAbc}, {"b", INT64_MAX, 0, kDigestOfAbc}, {"c", 5, 0, kDigestOfAbc}};
  EXPECT_EQ(code_of<FileError>([&] { publish_manifest(directory.path(), manifest); }), "manifest.invalid");
}

TEST(Manifest, any_edit_is_noticed_by_the_digest) {
  const TestDirectory directory;
  const fs::path file = directory.path() / kManifestName;
  Manifest manifest = example();
  manifest.metadata.comment = "yearly";
  publish_manifest(directory.path(), manifest);
  const std::string good = read_file(file);
  const auto read = [&] { read_manifest(directory.path()); };
  for (const auto& [from, to] : std::vector<std::pair<std::string, std::string>>{{"yearly", "daily"},
                                                                                 {"NUMBER(12,2)", "NUMBER(12,1)"},
                                                                                 {"01b2-c3", "01b2-c4"},
                                                                                 {"\"format\"", "\"note\": 1, \"format\""},
                                                                                 {"ba7816bf", "ba7816be"},
                                                                                 {"\"sha256\": \"", "\"sha256\": \"00"}}) {
    std::string bad = good;
    bad.replace(bad.rfind(from), from.size(), to);
    write_file(file, bad);
    EXPECT_EQ(code_of<VerificationError>(read), "manifest.changed") << from << " -> " << to;
  }
  // White space says nothing.
  std::string spaced = good;
  spaced.replace(spaced.find("\"rows\": 3"), 9, "\"rows\" :3");
  write_file(file, spaced);
  EXPECT_EQ(read_manifest(directory.path()).metadata.comment, "yearly");
}

TEST(Manifest, a_plain_one_of_version_1_is_read) {
  const TestDirectory directory;
  const fs::path file = directory.path() / kManifestName;
  publish_manifest(directory.path(), example());
  std::string old = read_file(file);
  old.replace(old.find("\"format_version\": 2"), 19, "\"format_version\": 1");
  old.erase(old.rfind(",\n  \"sha256\""));
  write_file(file, old + "\n}\n");
  EXPECT_EQ(read_manifest(directory.path()).rows, 3) << old;
  old.replace(old.find("\"format_version\": 1"), 19, "\"format_version\": 2");
  write_file(file, old + "\n}\n");
  EXPECT_EQ(code_of<VerificationError>([&] { read_manifest(directory.path()); }), "manifest.changed");
}

TEST(Manifest, a_password_vouches_for_all_of_it) {
  const TestDirectory directory;
  const fs::path file = directory.path() / kManifestName;
  const Secret password("pw");
  const EncryptionKey key = FilePassword(password).key("000102030405060708090a0b0c0d0e0f");
  Manifest manifest = example();
  manifest.encrypted = true;
  manifest.salt = key.salt_hex;
  publish_manifest(directory.path(), manifest, &key);
  EXPECT_EQ(read_manifest(directory.path(), password).rows, 3);
  const auto read = [&] { read_manifest(directory.path(), password); };
  EXPECT_EQ(code_of<FileError>([&] { read_manifest(directory.path()); }), "manifest.encrypted");
  EXPECT_EQ(code_of<FileError>([&] { read_manifest(directory.path(), Secret("other")); }), "manifest.wrong_password");

  const std::string good = read_file(file);
  struct Forgery {
    std::string from, to, code;
  };
  for (const Forgery& forgery :
       {Forgery{"01b2-c3", "01b2-c4", "manifest.wrong_password"}, Forgery{"ba7816bf", "ba7816be", "manifest.wrong_password"},
        Forgery{"\"0001", "\"0002", "manifest.wrong_password"}, Forgery{"\"0001", "\"zz01", "encryption.bad_salt"},
        Forgery{"32768", "1073741824", "manifest.invalid"}, Forgery{"\"hmac_sha256\"", "\"note\"", "manifest.not_authenticated"},
        Forgery{"\"hmac_sha256\": \"", "\"hmac_sha256\": \"0", "manifest.wrong_password"},
        Forgery{"\"format_version\": 2", "\"format_version\": 1", "manifest.wrong_password"},
        Forgery{"\"encrypted\": true", "\"encrypted\": false", "manifest.not_encrypted"}}) {
    std::string bad = good;
    bad.replace(bad.find(forgery.from), forgery.from.size(), forgery.to);
    write_file(file, bad);
    EXPECT_EQ(code_of<FileError>(read), forgery.code) << forgery.from << " -> " << forgery.to;
  }
  publish_manifest(directory.path(), example());
  EXPECT_EQ(code_of<FileError>(read), "manifest.not_encrypted");
}

// HMAC-SHA256 under HKDF-SHA256 (no salt, "snowmelt manifest"), by Python's hmac.
TEST(Encryption, the_manifests_mac_is_as_documented) {
  const EncryptionKey key{std::string(32, '\x01'), "000102030405060708090a0b0c0d0e0f"};
  EXPECT_EQ(manifest_mac(key, "{\"rows\":3}"), "dab4544ec81c6c392151653a89b391580c4e813b58550deb2d62e292c6f1ece3");
}

// What cannot be read as a file ends at once, with one error that names it.
TEST(Manifest, special_files_are_refused) {
  const TestDirectory directory;
  const fs::path file = directory.path() / kManifestName;
  const auto read = [&] { read_manifest(directory.path()); };
  ASSERT_EQ(::mkfifo(file.c_str(), 0600), 0);
  EXPECT_EQ(code_of<FileError>(read), "file.not_regular");
  fs::remove(file);
  for (const char* target : {"/dev/zero", "nowhere", "real.json"}) {
    fs::create_symlink(target, file);
    EXPECT_EQ(code_of<FileError>(read), "file.link") << target;
    fs::remove(file);
  }
  fs::create_directory(file);
  EXPECT_EQ(code_of<FileError>(read), "file.not_regular");
  fs::remove(file);
  write_file(file, "");
  fs::resize_file(file, (int64_t{64} << 20) + 1);
  EXPECT_EQ(code_of<FileError>(read), "manifest.invalid");

  const PartInfo part = example().parts[0];
  const auto verify = [&] { verify_part(directory.path(), part); };
  ASSERT_EQ(::mkfifo((directory.path() / part.file).c_str(), 0600), 0);
  EXPECT_EQ(code_of<FileError>(verify), "file.not_regular");
  fs::remove(directory.path() / part.file);
  fs::create_symlink("/dev/zero", directory.path() / part.file);
  EXPECT_EQ(code_of<FileError>(verify), "file.link");
}

TEST(Manifest, leftovers_are_swept_and_what_it_names_stays) {
  const TestDirectory directory;
  const std::string dead = "part-20251231T235959-0123abcd-00000.parquet";
  const auto leave = [&] {
    for (const std::string& name : {dead, dead + ".tmp", std::string(".publishing.tmp"), std::string("mine.parquet")})
      write_file(directory.path() / name, "abc");
  };
  leave();
  sweep_parts(directory.path());
  EXPECT_EQ(file_names(directory.path()), std::vector<std::string>{"mine.parquet"}) << "without a manifest";
  write_file(directory.path() / kPart, "abc");
  publish_manifest(directory.path(), example());
  leave();
  sweep_parts(directory.path());
  EXPECT_EQ(file_names(directory.path()), (std::vector<std::string>{"manifest.json", "mine.parquet", kPart}));
  remove_parts(directory.path(), {example().parts[0], {"mine.parquet", 0, 0, ""}});
  EXPECT_EQ(file_names(directory.path()), (std::vector<std::string>{"manifest.json", kPart}));
  leave();
  write_file(directory.path() / kManifestName, "{");
  sweep_parts(directory.path());
  EXPECT_TRUE(fs::exists(directory.path() / dead)) << "nobody knows what a damaged manifest names";
  EXPECT_FALSE(fs::exists(directory.path() / (dead + ".tmp")));
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

TEST(DurableFile, modes) {
  const TestDirectory directory;
  const mode_t before = ::umask(027);
  const auto bits = [](const fs::path& path) { return static_cast<int>(fs::status(path).permissions()); };
  struct Expected {
    FilePermissions permissions;
    int file, folder;
  };
  for (const auto& [permissions, file, folder] :
       {Expected{FilePermissions::private_, 0600, 0700}, Expected{FilePermissions::group, 0640, 0750},
        Expected{FilePermissions::umask, 0640, 0750}}) {
    const fs::path base = directory.path() / std::to_string(static_cast<int>(permissions));
    make_directories(base / "a" / "b", permissions);
    EXPECT_EQ(bits(base), folder);
    EXPECT_EQ(bits(base / "a" / "b"), folder);
    DurableFile(base / "x.tmp", base / "x", permissions).publish();
    EXPECT_EQ(bits(base / "x"), file);
  }
  ::umask(077);
  make_directories(directory.path() / "g", FilePermissions::group);
  EXPECT_EQ(bits(directory.path() / "g"), 0750) << "a narrow umask does not shut the group out";
  fs::permissions(directory.path() / "g", fs::perms::all);
  make_directories(directory.path() / "g", FilePermissions::private_);
  EXPECT_EQ(bits(directory.path() / "g"), 0777) << "what exists keeps its mode";
  ::umask(before);
}

TEST(DirectoryLock, one_export_or_many_loads) {
  const TestDirectory directory;
  const auto exclusive = [&] { DirectoryLock::exclusive(directory.path()); };
  const auto shared = [&] { DirectoryLock::shared(directory.path()); };
  auto exporting = DirectoryLock::exclusive(directory.path());
  EXPECT_EQ(code_of<LockedError>(exclusive), "export.locked");
  EXPECT_EQ(code_of<LockedError>(shared), "export.locked");
  exporting->share();
  EXPECT_EQ(code_of<LockedError>(exclusive), "export.locked");
  const auto loading = DirectoryLock::shared(directory.path());
  exporting.reset();
  EXPECT_EQ(code_of<LockedError>(exclusive), "export.locked");
}

std::string message_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const LockedError& error) {
    return error.what();
  }
  return "nothing thrown";
}

TEST(DirectoryLock, is_waited_for) {
  using std::chrono::milliseconds;
  const TestDirectory directory;
  std::mutex mutex;
  std::string warnings;
  set_log_sink([&](LogLevel level, std::string_view message) {
    const std::lock_guard lock(mutex);
    if (level == LogLevel::warning) warnings += std::string(message) + "\n";
  });
  auto exporting = DirectoryLock::exclusive(directory.path());
  const std::string pid = "(pid " + std::to_string(::getpid()) + ")";

  const std::string at_once = message_of([&] { DirectoryLock::shared(directory.path()); });
  EXPECT_NE(at_once.find("another run that exports into this directory " + pid + " is not done"), std::string::npos) << at_once;
  EXPECT_NE(at_once.find("--wait 10m"), std::string::npos) << at_once;
  EXPECT_EQ(warnings, "") << "who does not wait is told by the error";
  const std::string later = message_of([&] { DirectoryLock::exclusive(directory.path(), {}, {.most = milliseconds(30)}); });
  EXPECT_NE(later.find("is not done after 30ms"), std::string::npos) << later;
  EXPECT_NE(later.find("more time with --wait"), std::string::npos) << later;
  EXPECT_EQ(std::count(warnings.begin(), warnings.end(), '\n'), 1) << warnings;
  EXPECT_NE(warnings.find("waiting for another run"), std::string::npos) << warnings;
  EXPECT_NE(warnings.find(pid + " (up to 30ms)"), std::string::npos) << warnings;

  // The lock comes as soon as it is free; of several loads nobody is named.
  std::shared_ptr<DirectoryLock> got;
  std::jthread waits([&] { got = DirectoryLock::shared(directory.path(), {.most = milliseconds(600'000)}); });
  exporting->share();
  waits.join();
  ASSERT_TRUE(got);
  const std::string readers = message_of([&] { DirectoryLock::exclusive(directory.path()); });
  EXPECT_EQ(readers.find("pid"), std::string::npos) << readers;
  EXPECT_NE(readers.find("or loads from it is not done"), std::string::npos) << readers;
  exporting.reset();
  got.reset();

  // A number that is nobody's, or none.
  exporting = DirectoryLock::exclusive(directory.path());
  for (const char* text : {"", "\n", "99999999\n", "-1\n", "0\n", "12x\n", "99999999999999999999\n", "\x1b[2J\n"}) {
    write_file(directory.path() / ".lock", text);
    const std::string message = message_of([&] { DirectoryLock::exclusive(directory.path()); });
    EXPECT_EQ(message.find("pid"), std::string::npos) << message;
    EXPECT_EQ(message.find("\x1b"), std::string::npos) << message;
  }

  // Ctrl-C ends the wait.
  std::stop_source stop;
  std::jthread stops([&] {
    std::this_thread::sleep_for(milliseconds(20));
    stop.request_stop();
  });
  const LockWait wait{.most = milliseconds(600'000), .stop = stop.get_token()};
  EXPECT_EQ(code_of<Interrupted>([&] { DirectoryLock::exclusive(directory.path(), {}, wait); }), "export.stopped");
  set_log_sink({});
}

TEST(DirectoryLock, makes_nothing_elsewhere) {
  const TestDirectory directory;
  const auto exclusive = [&] { DirectoryLock::exclusive(directory.path()); };
  const auto shared = [&] { DirectoryLock::shared(directory.path()); };
  fs::create_symlink(directory.path() / "elsewhere", directory.path() / ".lock");
  EXPECT_EQ(code_of<FileError>(exclusive), "file.link");
  EXPECT_EQ(code_of<FileError>(shared), "file.link");
  EXPECT_FALSE(fs::exists(directory.path() / "elsewhere"));
  fs::remove(directory.path() / ".lock");
  ASSERT_EQ(::mkfifo((directory.path() / ".lock").c_str(), 0600), 0);
  EXPECT_EQ(code_of<FileError>(exclusive), "file.not_regular");
  EXPECT_EQ(code_of<FileError>(shared), "file.not_regular");
}

TEST(DurableFile, follows_no_link_and_names_the_remedy) {
  const TestDirectory directory;
  // What lies under the temporary name, another file's link, must not be written to.
  write_file(directory.path() / "mine", "mine");
  for (const bool hard : {false, true}) {
    const fs::path temporary = directory.path() / "a.tmp";
    hard ? fs::create_hard_link(directory.path() / "mine", temporary) : fs::create_symlink(directory.path() / "mine", temporary);
    DurableFile file(temporary, directory.path() / "a");
    file.write("abc", 3);
    file.publish();
    EXPECT_EQ(read_file(directory.path() / "mine"), "mine");
    EXPECT_EQ(read_file(directory.path() / "a"), "abc");
  }
  try {
    throw_file_error("write the file", "x", ENOSPC);
  } catch (const FileError& error) {
    EXPECT_NE(error.hint().find("export.directory"), std::string::npos);
  }
}

}  // namespace
}  // namespace snowmelt
