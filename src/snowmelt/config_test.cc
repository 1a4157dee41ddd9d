#include "snowmelt/config.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>

#include "snowmelt/error.h"
#include "snowmelt/open_file.h"

namespace snowmelt {
namespace {

class ConfigFile : public ::testing::Test {
 protected:
  ConfigFile() : path_(std::filesystem::temp_directory_path() / ("snowmelt-config-" + std::to_string(::getpid()) + ".toml")) {
    for (const char* name : {"SNOWFLAKE_USER", "SNOWFLAKE_PORT", "PGHOST", "PGDATABASE"}) ::unsetenv(name);
    ::setenv("SNOWFLAKE_HOME", "/nonexistent", 1);
    ::setenv("XDG_CONFIG_HOME", "/nonexistent", 1);
  }
  ~ConfigFile() override { std::filesystem::remove(path_); }

  Config load(const std::string& text) {
    std::ofstream(path_) << text;
    ::chmod(path_.c_str(), 0600);
    return load_config(path_);
  }
  std::string refusal(const std::string& text) {
    try {
      Config config = load(text);
      validate_tables(config);
    } catch (const ConfigurationError& error) {
      return error.what();
    }
    return "accepted";
  }

  std::filesystem::path path_;
};

TEST_F(ConfigFile, ReadsEverySectionAndDefaultsForAllTables) {
  Config config = load(R"(
[snowflake]
account = "acct"
user = "u"
port = 8080
[snowflake.session_parameters]
QUERY_TAG = "x"
[postgres]
uri = "postgresql://localhost/app"
port = 5433
[export]
directory = "out"
[defaults]
mode = "replace"
[[table]]
source = "DB.PUBLIC.ORDERS"
[[table]]
source = 'DB."Odd Schema"."MixedCase"'
mode = "append"
)");
  validate_tables(config);
  EXPECT_EQ(config.snowflake.port, 8080);
  EXPECT_EQ(config.snowflake.session_parameters.at("QUERY_TAG"), "x");
  EXPECT_EQ(config.postgres.port, "5433");
  EXPECT_EQ(config.export_.directory, "out");
  ASSERT_EQ(config.tables.size(), 2u);
  EXPECT_EQ(config.tables[0].target, "public.orders");
  EXPECT_EQ(config.tables[0].name, "DB.PUBLIC.ORDERS");
  EXPECT_EQ(config.tables[0].mode, LoadMode::replace);
  EXPECT_EQ(config.tables[1].target, "\"Odd Schema\".\"MixedCase\"");
  EXPECT_EQ(config.tables[1].mode, LoadMode::append);
}

TEST_F(ConfigFile, EnvironmentIsAboveTheFile) {
  ::setenv("SNOWFLAKE_USER", "from_environment", 1);
  ::setenv("PGDATABASE", "elsewhere", 1);
  const Config config = load("[snowflake]\nuser = \"u\"\n[postgres]\ndbname = \"app\"\n");
  EXPECT_EQ(config.snowflake.user, "from_environment");
  EXPECT_EQ(config.postgres.dbname, "elsewhere");
  ::unsetenv("SNOWFLAKE_USER");
  ::unsetenv("PGDATABASE");
}

TEST_F(ConfigFile, RefusesByNameWithARemedy) {
  const struct {
    const char* text;
    const char* expected;
  } cases[] = {
      {"[snowflake]\nacount = 'a'\n", "the nearest known key is \"account\""},
      {"[snowflakes]\naccount = 'a'\n", "the nearest known key is \"snowflake\""},
      {"[[table]]\nsource = 'A'\ntarhet = 'b'\n", "the nearest known key is \"target\""},
      {"[[table]]\nsource = 'A'\nmode = 'upsert'\n", "\"upsert\" is not one of: create, replace, truncate, append"},
      {"[table]\nsource = 'A'\n", "two brackets"},
      {"[snowflake]\nport = 'x'\n", "whole number"},
      {"[snowflake\n", "config.not_toml"},
      {"", "names no table"},
      {"[[table]]\nname = 'x'\n", "source or query is missing"},
      {"[[table]]\nsource = 'A'\nquery = 'select 1'\nname = 'x'\n", "both given"},
      {"[[table]]\nquery = 'select 1'\n", "a query needs a name"},
      {"[[table]]\nsource = 'A.B.C.D'\n", "at most 3 parts"},
      {"[[table]]\nsource = 'A; drop table x'\n", "unexpected"},
      {"[[table]]\nsource = 'A'\ntarget = 'x'\n[[table]]\nsource = 'B'\ntarget = 'public.X'\n", "two tables have the target"},
      {"[[table]]\nsource = 'A'\n[[table]]\nsource = 'a'\ntarget='z'\n", "listed twice"},
      {"[defaults]\nsource = 'A'\n", "belongs to a single [[table]]"},
  };
  for (const auto& test : cases)
    EXPECT_NE(refusal(test.text).find(test.expected), std::string::npos) << test.text << refusal(test.text);
}

TEST_F(ConfigFile, RefusesAFileThatOthersMayWrite) {
  std::ofstream(path_) << "[export]\n";
  ::chmod(path_.c_str(), 0622);
  EXPECT_THROW(load_config(path_), ConfigurationError);
}

TEST(Trust, OwnerAndModeOfWhatWasOpened) {
  struct stat status {};
  status.st_mode = S_IFREG | 0600;
  status.st_uid = 1000;
  EXPECT_EQ(distrust(status, 1000), "");
  EXPECT_NE(distrust(status, 1001).find("another user (uid 1000)"), std::string::npos);
  EXPECT_NE(distrust(status, 0).find("another user"), std::string::npos) << "root does not obey everybody's file either";
  status.st_uid = 0;
  EXPECT_EQ(distrust(status, 1000), "") << "root's word counts";
  for (const mode_t mode : {0620, 0602, 0666}) {
    status.st_mode = S_IFREG | mode;
    EXPECT_NE(distrust(status, 1000).find("written by other users"), std::string::npos);
  }
}

TEST_F(ConfigFile, SpecialFilesEndAtOnce) {
  const auto refused = [](const std::filesystem::path& file) {
    try {
      read_trusted(file);
    } catch (const ConfigurationError& error) {
      return error.code();
    }
    return std::string("accepted");
  };
  EXPECT_EQ(refused("/dev/zero"), "config.unreadable");
  EXPECT_EQ(refused("/"), "config.unreadable");
  EXPECT_EQ(refused("/nowhere"), "config.unreadable");
  std::ofstream(path_) << "";
  ::chmod(path_.c_str(), 0600);
  std::filesystem::resize_file(path_, (16 << 20) + 1);
  EXPECT_EQ(refused(path_), "config.unreadable");
}

TEST_F(ConfigFile, PermissionsOfTheExport) {
  EXPECT_EQ(load("[export]\n").export_.permissions, FilePermissions::private_);
  EXPECT_EQ(load("[export]\npermissions = 'group'\n").export_.permissions, FilePermissions::group);
  EXPECT_EQ(load("[export]\npermissions = 'umask'\n").export_.permissions, FilePermissions::umask);
  for (const char* value : {"'0644'", "'public'", "640", "true"})
    EXPECT_NE(refusal(std::string("[export]\npermissions = ") + value).find("private, group, umask"), std::string::npos) << value;
}

TEST(Names, ParseAndFold) {
  EXPECT_EQ(parse_name("db.public.\"Odd.\"\"Name\"", Fold::upper), (std::vector<std::string>{"DB", "PUBLIC", "Odd.\"Name"}));
  EXPECT_EQ(parse_name("Public.Orders", Fold::lower, 2), (std::vector<std::string>{"public", "orders"}));
  EXPECT_EQ(fold_to_postgres("L_ORDERKEY"), "l_orderkey");
  EXPECT_EQ(fold_to_postgres("Mixed"), "Mixed");
  EXPECT_EQ(fold_to_postgres("1ST"), "1ST");
}

}  // namespace
}  // namespace snowmelt
