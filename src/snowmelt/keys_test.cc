#include "snowmelt/keys.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>

#include "snowmelt/error.h"

namespace snowmelt {
namespace {

// A value that is not the default, for any key.
template <typename Section>
KeyValue sample(const Key<Section>& key) {
  switch (key.type) {
    case KeyType::text:
    case KeyType::secret:
    case KeyType::path: return fmt::format("some \"{}\"", key.name);
    case KeyType::integer: return int64_t{7};
    case KeyType::duration: return std::string("7m");
    case KeyType::name: return std::string("\"Some \"\"name\"\"\"");
    case KeyType::flag: return !std::get<bool>(key.get(Section{}));
    case KeyType::word: return std::string(key.words.back());
    case KeyType::texts: return std::map<std::string, std::string>{{"A", "one"}, {"B \"c\"", "two"}};
    case KeyType::names: return std::vector<std::string>{"A", "B \"c\""};
    case KeyType::parameters: return std::map<std::string, std::string>{{"QUERY_TAG", "x"}};
  }
  return {};
}

std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) out += c == '"' ? std::string("\\\"") : std::string(1, c);
  return out + "\"";
}

struct ToToml {
  std::string operator()(bool flag) const { return flag ? "true" : "false"; }
  std::string operator()(int64_t number) const { return std::to_string(number); }
  std::string operator()(const std::string& text) const { return quoted(text); }
  std::string operator()(const std::map<std::string, std::string>& texts) const {
    std::string out;
    for (const auto& [name, text] : texts) out += (out.empty() ? "" : ", ") + quoted(name) + " = " + quoted(text);
    return "{ " + out + " }";
  }
  std::string operator()(const std::vector<std::string>& names) const {
    std::string out;
    for (const std::string& name : names) out += (out.empty() ? "" : ", ") + quoted(name);
    return "[" + out + "]";
  }
};

class KeyTable : public ::testing::Test {
 protected:
  KeyTable() : path_(std::filesystem::temp_directory_path() / fmt::format("snowmelt-keys-{}.toml", ::getpid())) {
    ::setenv("SNOWFLAKE_HOME", "/nonexistent", 1);
    ::setenv("XDG_CONFIG_HOME", "/nonexistent", 1);
  }
  ~KeyTable() override { std::filesystem::remove(path_); }

  Config load(const std::string& text) {
    std::ofstream(path_) << text;
    ::chmod(path_.c_str(), 0600);
    return load_config(path_);
  }
  std::string refusal(const std::string& text) {
    try {
      load(text);
    } catch (const ConfigurationError& error) {
      return error.what();
    }
    return "accepted";
  }

  std::filesystem::path path_;
};

template <typename Section>
const Section& section_of(const Config& config) {
  if constexpr (std::is_same_v<Section, SnowflakeConfig>) return config.snowflake;
  if constexpr (std::is_same_v<Section, PostgresConfig>) return config.postgres;
  if constexpr (std::is_same_v<Section, ExportConfig>) return config.export_;
  if constexpr (std::is_same_v<Section, TableConfig>) return config.tables.at(0);
}

template <typename Section>
class EveryKey : public KeyTable {};
using Sections = ::testing::Types<SnowflakeConfig, PostgresConfig, ExportConfig, TableConfig>;
TYPED_TEST_SUITE(EveryKey, Sections);

TYPED_TEST(EveryKey, GoesInAndOutOneByOne) {
  TypeParam section;
  for (const auto& key : keys<TypeParam>()) {
    EXPECT_NE(key.get(section), sample(key)) << key.name << " shares a member with a key before it";
    set_key(section, std::string(key.name), sample(key));
    EXPECT_EQ(key.get(section), sample(key)) << key.name;
  }
  for (const auto& key : keys<TypeParam>()) EXPECT_EQ(key.get(section), sample(key)) << key.name << " was changed by another key";
}

TYPED_TEST(EveryKey, IsReadFromTheFile) {
  const bool table = section_name<TypeParam>() == "table";
  std::string text = table ? "[[table]]\n" : fmt::format("[{}]\n", section_name<TypeParam>());
  for (const auto& key : keys<TypeParam>()) {
    if (key.name == "connection") continue;  // would be looked up
    text += fmt::format("{} = {}\n", key.name, std::visit(ToToml(), sample(key)));
  }
  const Config config = this->load(text);
  for (const auto& key : keys<TypeParam>()) {
    if (key.name == "connection") continue;
    EXPECT_EQ(key.get(section_of<TypeParam>(config)), sample(key)) << key.name;
  }
}

TYPED_TEST(EveryKey, IsReadFromItsVariable) {
  for (const auto& key : keys<TypeParam>()) {
    if (key.variable.empty() || key.name == "connection") continue;
    const KeyValue value = sample(key);
    if (!std::holds_alternative<std::string>(value) && !std::holds_alternative<bool>(value) &&
        !std::holds_alternative<int64_t>(value))
      continue;
    const auto* text = std::get_if<std::string>(&value);
    ::setenv(key.variable.c_str(), (text != nullptr ? *text : std::visit(ToToml(), value)).c_str(), 1);
    const Config config = this->load("[export]\n[[table]]\nsource = \"A\"\n");
    ::unsetenv(key.variable.c_str());
    EXPECT_EQ(key.get(section_of<TypeParam>(config)), value) << key.variable;
  }
}

TYPED_TEST(EveryKey, RefusesAnotherType) {
  for (const auto& key : keys<TypeParam>()) {
    TypeParam section;
    const bool columns = key.type == KeyType::texts || key.type == KeyType::names || key.type == KeyType::parameters;
    const KeyValue wrong = columns ? KeyValue(true) : KeyValue(std::map<std::string, std::string>{{"A", "b"}});
    try {
      set_key(section, std::string(key.name), wrong);
      ADD_FAILURE() << key.name << " took a value of another type";
    } catch (const ConfigurationError& error) {
      EXPECT_NE(std::string(error.what()).find(key.name), std::string::npos) << error.what();
    }
  }
}

TEST_F(KeyTable, VariablesAreRefusedUntilThereAreSome) {
  const char* const cases[] = {
      "[snowflake]\npassword = \"${PW}\"\n",
      "[snowflake.session_parameters]\nQUERY_TAG = \"${TAG}\"\n",
      "[postgres]\nuri = \"postgresql://u:${PW}@h/d\"\n",
      "[export]\ndirectory = \"${HOME}/export\"\n",
      "[defaults]\ntypes = { A = \"${T}\" }\n",
      "[[table]]\nquery = \"select '${day}'\"\n",
      "[[table]]\nsource = 'A'\ndrop = [\"${A}\"]\n",
  };
  for (const char* text : cases) {
    const std::string message = refusal(text);
    EXPECT_NE(message.find("config.no_variables"), std::string::npos) << text << message;
    EXPECT_EQ(message.find("u:${PW}"), std::string::npos) << "the value is not shown: " << message;
  }
  EXPECT_NE(refusal(cases[0]).find("SNOWFLAKE_PASSWORD"), std::string::npos) << refusal(cases[0]);
  SnowflakeConfig config;
  set_key(config, "password", std::string("a${b}"));  // a program's own text is the program's
  EXPECT_EQ(config.password.reveal(), "a${b}");
}

TEST_F(KeyTable, ADurationHasAUnitOrIsSeconds) {
  const auto wait_of = [&](const char* value) {
    return load(fmt::format("[postgres]\nwait = {}\n", value)).postgres.wait.count();
  };
  EXPECT_EQ(load("").postgres.wait.count(), 600'000);
  EXPECT_EQ(wait_of("0"), 0);
  EXPECT_EQ(wait_of("90"), 90'000);
  EXPECT_EQ(wait_of("\"90\""), 90'000);
  EXPECT_EQ(wait_of("\"500ms\""), 500);
  EXPECT_EQ(wait_of("\"1h\""), 3'600'000);
  for (const char* wrong : {"-1", "\"-1s\"", "\"10 minutes\"", "9223372036854775807", "\"597h\"", "true", "1.5", "\"\""}) {
    const std::string message = refusal(fmt::format("[postgres]\nwait = {}\n", wrong));
    EXPECT_NE(message.find(":2, postgres.wait"), std::string::npos) << wrong << message;
    EXPECT_NE(message.find("duration"), std::string::npos) << wrong << message;
  }
  PostgresConfig config;
  set_key(config, "wait", int64_t{5});  // a number, as Python hands it over
  EXPECT_EQ(config.wait.count(), 5'000);
}

TEST_F(KeyTable, APublishNeverWaitsWithoutLimit) {
  EXPECT_EQ(load("").postgres.publish_lock_timeout.count(), 2'000);
  const std::string message = refusal("[postgres]\npublish_lock_timeout = 0\n");
  EXPECT_NE(message.find("postgres.publish_lock_timeout"), std::string::npos) << message;
  EXPECT_NE(message.find("must be more than 0"), std::string::npos) << message;
}

TEST_F(KeyTable, TheLedgersSchemaIsOneName) {
  const auto schema_of = [&](const char* value) {
    return load(fmt::format("[postgres]\nledger_schema = '{}'\n", value)).postgres.ledger_schema;
  };
  EXPECT_EQ(load("").postgres.ledger_schema, "snowmelt");
  EXPECT_EQ(schema_of("Loads"), "loads");
  EXPECT_EQ(schema_of("\"Our loads\""), "Our loads");
  for (const std::string& wrong :
       {std::string("a.b"), std::string(), std::string("a b"), std::string("\"a"), std::string(64, 'x')}) {
    const std::string message = refusal(fmt::format("[postgres]\nledger_schema = '{}'\n", wrong));
    EXPECT_NE(message.find(":2, postgres.ledger_schema"), std::string::npos) << wrong << message;
  }
}

TEST_F(KeyTable, ATypeIsATypeAndNothingElse) {
  const auto type_of = [&](const char* value) {
    return load(fmt::format("[[table]]\nsource = 'A'\ntypes = {{ COL = '{}' }}\n", value)).tables.at(0).rules.types.at("COL");
  };
  EXPECT_EQ(type_of("Numeric (10, 2)"), "numeric(10,2)");
  EXPECT_EQ(type_of("public.\"Mood\""), "public.\"Mood\"");
  for (const char* wrong :
       {"text check (true)", "text); drop table t; --", "int primary key", "text default now()", "text collate \"C\""}) {
    const std::string message = refusal(fmt::format("[[table]]\nsource = 'A'\ntypes = {{ COL = '{}' }}\n", wrong));
    EXPECT_NE(message.find(":3, table.types.COL"), std::string::npos) << message;
    EXPECT_NE(message.find("is not a PostgreSQL type"), std::string::npos) << message;
    EXPECT_NE(refusal(fmt::format("[defaults.types]\nCOL = '{}'\n", wrong)).find("defaults.types.COL"), std::string::npos)
        << wrong;
    TableConfig table;
    EXPECT_THROW(set_key(table, "types", std::map<std::string, std::string>{{"COL", wrong}}), ConfigurationError) << wrong;
    EXPECT_TRUE(table.rules.types.empty());
  }
}

TEST_F(KeyTable, LinesAreNamedInEverySection) {
  EXPECT_NE(refusal("[snowflake]\nuser = \"u\"\nport = \"x\"\n").find(":3, snowflake.port"), std::string::npos);
  EXPECT_NE(refusal("[snowflake]\n\nwarehous = \"x\"\n").find(":3, snowflake.warehous"), std::string::npos);
  EXPECT_NE(refusal("[snowflake.session_parameters]\nA = []\n").find(":2, snowflake.session_parameters.A"), std::string::npos);
}

}  // namespace
}  // namespace snowmelt
