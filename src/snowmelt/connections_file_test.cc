#include "snowmelt/connections_file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <vector>

#include "snowmelt/config.h"
#include "snowmelt/error.h"
#include "snowmelt/log.h"

namespace snowmelt {
namespace {

namespace fs = std::filesystem;

class ConnectionsFile : public ::testing::Test {
 protected:
  ConnectionsFile() : root_(fs::temp_directory_path() / ("snowmelt-connections-" + std::to_string(::getpid()))) {
    fs::create_directories(root_ / "home/.config/snowflake");
    for (const char* name : {"SNOWFLAKE_HOME", "XDG_CONFIG_HOME", "SNOWFLAKE_CONNECTION", "SNOWFLAKE_DEFAULT_CONNECTION_NAME",
                             "SNOWFLAKE_ACCOUNT", "SNOWFLAKE_USER"}) {
      ::unsetenv(name);
    }
    ::setenv("HOME", (root_ / "home").c_str(), 1);
    set_log_sink([this](LogLevel level, std::string_view text) {
      logged_.push_back(std::to_string(static_cast<int>(level)) + " " + std::string(text));
    });
  }
  ~ConnectionsFile() override {
    set_log_sink({});
    fs::remove_all(root_);
  }

  fs::path write(const fs::path& name, const std::string& text, mode_t mode = 0600) {
    const fs::path path = root_ / "home" / name;
    fs::create_directories(path.parent_path());
    std::ofstream(path) << text;
    ::chmod(path.c_str(), mode);
    return path;
  }
  SnowflakeConfig load(const std::string& snowmelt) { return load_config(write("snowmelt.toml", snowmelt)).snowflake; }
  std::string refusal(const std::string& snowmelt) {
    try {
      load(snowmelt);
    } catch (const ConfigurationError& error) {
      return error.what();
    }
    return "accepted";
  }
  bool logged(const std::string& text) const {
    for (const std::string& line : logged_) {
      if (line.find(text) != std::string::npos) return true;
    }
    return false;
  }

  fs::path root_;
  std::vector<std::string> logged_;
};

constexpr const char* kTwo = R"(
[dev]
account = "dev_account"
user = "ana"
authenticator = "externalbrowser"
port = "8080"
client_session_keep_alive = "false"
query_tag = "of another tool"
[prod]
account = "prod_account"
user = "bot"
)";

TEST_F(ConnectionsFile, LiesBelowSnowmeltTomlAndTheEnvironment) {
  write(".snowflake/connections.toml", kTwo);
  ::setenv("SNOWFLAKE_USER", "from_environment", 1);
  const SnowflakeConfig config = load("[snowflake]\nconnection = 'dev'\naccount = 'own'\n");
  ::unsetenv("SNOWFLAKE_USER");
  EXPECT_EQ(config.account, "own");
  EXPECT_EQ(config.user, "from_environment");
  EXPECT_EQ(config.authenticator, "externalbrowser");
  EXPECT_EQ(config.port, 8080);
  EXPECT_FALSE(config.client_session_keep_alive);
  EXPECT_TRUE(logged("0 ")) << "the other tool's key, at debug level";
  EXPECT_TRUE(logged("dev.query_tag"));
}

TEST_F(ConnectionsFile, SearchPath) {
  write(".config/snowflake/connections.toml", "[dev]\naccount = 'config'\n");
  EXPECT_EQ(load("[snowflake]\nconnection = 'dev'\n").account, "config");
  write("xdg/snowflake/connections.toml", "[dev]\naccount = 'xdg'\n");
  ::setenv("XDG_CONFIG_HOME", (root_ / "home/xdg").c_str(), 1);
  EXPECT_EQ(load("[snowflake]\nconnection = 'dev'\n").account, "xdg");
  ::setenv("SNOWFLAKE_HOME", "~/elsewhere", 1);
  EXPECT_EQ(load("[snowflake]\nconnection = 'dev'\n").account, "xdg") << "a directory that does not exist is passed over";
  write("elsewhere/connections.toml", "[dev]\naccount = 'elsewhere'\n");
  EXPECT_EQ(load("[snowflake]\nconnection = 'dev'\n").account, "elsewhere");
  ::unsetenv("SNOWFLAKE_HOME");
  write(".snowflake/config.toml", "[connections.dev]\naccount = 'home'\n");
  EXPECT_EQ(load("[snowflake]\nconnection = 'dev'\n").account, "home");
  write(".snowflake/connections.toml", kTwo);
  EXPECT_EQ(load("[snowflake]\nconnection = 'dev'\n").account, "dev_account") << "connections.toml wins over config.toml";
}

TEST_F(ConnectionsFile, DefaultOnlyForWhoNamesNoAccount) {
  EXPECT_EQ(load("").account, "") << "no file at all is fine";
  write(".snowflake/config.toml", "default_connection_name = 'prod'\n");
  write(".snowflake/connections.toml", kTwo);
  EXPECT_EQ(load("").account, "prod_account");
  EXPECT_EQ(load("[snowflake]\nwarehouse = 'W'\n").account, "prod_account");
  EXPECT_EQ(load("[snowflake]\naccount = 'own'\n").user, "");
  ::setenv("SNOWFLAKE_ACCOUNT", "own", 1);
  EXPECT_EQ(load("").user, "");
  ::unsetenv("SNOWFLAKE_ACCOUNT");
  ::setenv("SNOWFLAKE_DEFAULT_CONNECTION_NAME", "dev", 1);
  EXPECT_EQ(load("").account, "dev_account");
  ::setenv("SNOWFLAKE_CONNECTION", "prod", 1);
  EXPECT_EQ(load("[snowflake]\nconnection = 'dev'\n").account, "prod_account");
  ::unsetenv("SNOWFLAKE_CONNECTION");
  ::unsetenv("SNOWFLAKE_DEFAULT_CONNECTION_NAME");
  write(".snowflake/config.toml", "");
  EXPECT_EQ(load("").account, "") << "nobody named one, and none is called default";
  write(".snowflake/connections.toml", "[default]\naccount = 'd'\n");
  EXPECT_EQ(load("").account, "d");
}

TEST_F(ConnectionsFile, RefusesByNameWithARemedy) {
  EXPECT_NE(refusal("[snowflake]\nconnection = 'dev'\n").find("neither connections.toml nor config.toml"), std::string::npos);
  write(".snowflake/connections.toml", kTwo);
  EXPECT_NE(refusal("[snowflake]\nconnection = 'test'\n").find("it lists dev, prod"), std::string::npos);
  EXPECT_EQ(refusal("[snowflake]\naccount = 'a'\n"), "accepted");
  write(".snowflake/connections.toml", "[dev]\nport = 'x'\n");
  EXPECT_NE(refusal("[snowflake]\nconnection = 'dev'\n").find("dev.port"), std::string::npos);
  write(".snowflake/connections.toml", "dev = 1\n");
  EXPECT_NE(refusal("[snowflake]\nconnection = 'dev'\n").find("must be a table"), std::string::npos);
}

TEST_F(ConnectionsFile, FileModes) {
  write(".snowflake/connections.toml", kTwo, 0644);
  EXPECT_EQ(refusal("[snowflake]\nconnection = 'dev'\n"), "accepted");
  EXPECT_TRUE(logged("may be read by other users"));
  write(".snowflake/connections.toml", kTwo, 0666);
  EXPECT_NE(refusal("[snowflake]\nconnection = 'dev'\n").find("config.unsafe_file"), std::string::npos);
  EXPECT_EQ(refusal("[snowflake]\naccount = 'a'\n"), "accepted") << "a file that is not used is not opened";
  const fs::path real = write("elsewhere/mine.toml", kTwo);
  fs::remove(root_ / "home/.snowflake/connections.toml");
  fs::create_symlink(real, root_ / "home/.snowflake/connections.toml");
  EXPECT_EQ(refusal("[snowflake]\nconnection = 'dev'\n"), "accepted") << "a link of the user's own is followed";
  ::chmod(real.c_str(), 0620);
  EXPECT_NE(refusal("[snowflake]\nconnection = 'dev'\n").find("config.unsafe_file"), std::string::npos) << "to what is checked";
}

}  // namespace
}  // namespace snowmelt
