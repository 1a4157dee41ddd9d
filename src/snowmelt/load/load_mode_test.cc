#include "snowmelt/load/load_mode.h"

#include <gtest/gtest.h>

#include <functional>

#include "snowmelt/connections/test_postgres.h"
#include "snowmelt/error.h"

namespace snowmelt {
namespace {

class Modes : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto server = test_postgres();
    if (!server) GTEST_SKIP() << kNoTestServer;
    PostgresConfig config = *server;
    connection_ = open_postgres(config);
    config.autocommit = true;
    observer_ = open_postgres(config);
    see("set lock_timeout = '120s'");  // a test that waits for itself fails instead
    see("drop schema if exists modes cascade");
    see("drop schema if exists \"New One\" cascade");
    see("drop schema if exists snowmelt cascade");
    see("create schema modes");
  }
  void TearDown() override {
    if (!connection_) return;
    connection_->rollback();
    for (const char* schema : {"modes", "\"New One\"", "snowmelt"})
      see(std::string("drop schema if exists ") + schema + " cascade");
    for (const std::string& role : roles_) see("drop owned by " + role), see("drop role " + role);
  }

  // By another connection, in autocommit mode.
  std::string see(const std::string& sql) {
    const auto result = observer_->execute(sql);
    return result.rows.empty() || result.rows[0].empty() ? "" : result.rows[0][0].value_or("NULL");
  }
  void make_role(const std::string& role) {
    see("create role " + role);
    roles_.push_back(role);
  }

  // Loads the numbers 1 … rows into column n, and commits.
  void load(
      const std::string& target, LoadMode mode, int rows, bool commit = true, const std::string& export_id = "",
      const std::function<void()>& before_publishing = [] {}) {
    connection_->begin();
    LoadSession session(*connection_, settings_);
    TableLoad table(session, target, mode);
    table.take_turn();
    table.lock();
    if (mode == LoadMode::append && !export_id.empty()) table.already_loaded(export_id);
    const auto copy = connection_->copy_in(table.prepare({{.name = "n", .type = "bigint"}}, {"n"}).value());
    std::string bytes("PGCOPY\n\377\r\n\0\0\0\0\0\0\0\0\0", 19);
    for (int i = 1; i <= rows; ++i)
      bytes += std::string("\0\1\0\0\0\10\0\0\0\0\0\0", 12) + static_cast<char>(i >> 8) + static_cast<char>(i);
    bytes += "\377\377";
    copy->write(bytes);
    EXPECT_EQ(copy->finish(), rows);
    before_publishing();
    table.publish(export_id, rows);
    if (commit) connection_->commit();
  }

  std::string refusal(const std::string& target, LoadMode mode) {
    try {
      load(target, mode, 1);
    } catch (const PostgresError& error) {
      connection_->rollback();
      return error.what();
    }
    return "nothing was refused";
  }

  std::shared_ptr<PostgresConnection> connection_, observer_;
  LoadSettings settings_{.create_schema = true};
  std::vector<std::string> roles_;
};

TEST_F(Modes, CreateMakesTableAndSchemaAndRefusesWhatIsThere) {
  load("\"New One\".\"Odd \"\"name\"", LoadMode::create, 3);
  EXPECT_EQ(see("select count(*) from \"New One\".\"Odd \"\"name\""), "3");
  EXPECT_NE(refusal("\"New One\".\"Odd \"\"name\"", LoadMode::create).find("exists already"), std::string::npos);
}

TEST_F(Modes, TruncateAndAppendNeedATable) {
  for (const LoadMode mode : {LoadMode::truncate, LoadMode::append}) {
    EXPECT_NE(refusal("modes.missing", mode).find("no such table"), std::string::npos);
  }
}

TEST_F(Modes, OnlyTablesAreLoaded) {
  see("create table modes.t (n bigint)");
  see("create view modes.v as select * from modes.t");
  see("create materialized view modes.m as select * from modes.t");
  see("create sequence modes.s");
  see("create type modes.c as (n bigint)");
  see("create index i on modes.t (n)");
  for (const char* name : {"modes.v", "modes.m", "modes.s", "modes.c", "modes.i"}) {
    EXPECT_NE(refusal(name, LoadMode::replace).find("cannot be loaded"), std::string::npos) << name;
    EXPECT_NE(refusal(name, LoadMode::create).find("of that name exists"), std::string::npos) << name;
  }
}

TEST_F(Modes, ReplaceKeepsWhatThePeopleMadeOfTheTable) {
  make_role("modes_owner");
  make_role("modes_reader");
  see("grant usage, create on schema modes to modes_owner");
  see("create table modes.t (n bigint constraint t_key primary key, more text default 'd' check (length(more) < 9), constraint "
      "positive check (n > 0))");
  see("create unique index \"Odd index\" on modes.t (lower(more), n) where n > 5");
  see("comment on table modes.t is 'about t'");
  see("comment on column modes.t.n is 'about n'");
  see("comment on index modes.\"Odd index\" is 'about it'");
  see("comment on constraint t_key on modes.t is 'about the key'");
  see("alter table modes.t owner to modes_owner");
  see("grant select, insert on modes.t to modes_reader with grant option");
  see("grant select on modes.t to public");
  see("insert into modes.t values (77)");
  const std::string oid = see("select 'modes.t'::regclass::oid");
  const char* facts =
      "select row(pg_get_userbyid(relowner), (select array_agg(a order by a::text) from unnest(relacl) a(a)), "
      "obj_description(oid, 'pg_class'), col_description(oid, 1),"
      " (select array_agg(pg_get_constraintdef(k.oid) || conname || coalesce(obj_description(k.oid, 'pg_constraint'), '') order "
      "by conname) from pg_constraint k where conrelid = c.oid),"
      " (select array_agg(pg_get_indexdef(indexrelid) || coalesce(obj_description(indexrelid, 'pg_class'), '') order by "
      "pg_get_indexdef(indexrelid)) from pg_index where indrelid = c.oid),"
      " (select array_agg(pg_get_expr(adbin, adrelid)) from pg_attrdef where adrelid = c.oid))::text from pg_class c where oid = "
      "'modes.t'::regclass";
  const std::string before = see(facts);

  load("modes.t", LoadMode::replace, 5, /*commit=*/true, "", [&] {
    EXPECT_EQ(see("select sum(n) from modes.t"), "77") << "readers go on with the old rows while the new ones are copied";
  });
  EXPECT_EQ(see("select sum(n) from modes.t"), "15");
  EXPECT_EQ(see("select min(more) from modes.t"), "d");
  EXPECT_EQ(see(facts), before);
  EXPECT_NE(see("select 'modes.t'::regclass::oid"), oid) << "swapped, not emptied";
  EXPECT_EQ(see("select count(*) from pg_class where relname like '%snowmelt%' and relnamespace = 'modes'::regnamespace"), "0");
}

TEST_F(Modes, ReplaceEmptiesATableThatOthersHangOn) {
  see("create table modes.parent (n bigint primary key)");
  for (const char* hanging :
       {"create view modes.v as select n from modes.t", "create rule r as on delete to modes.t do instead nothing",
        "alter table modes.t add foreign key (n) references modes.parent", "grant select (n) on modes.t to public",
        "alter table modes.t enable row level security", "create statistics modes.s on n, m from modes.t",
        "alter table modes.t set (fillfactor = 50)", "alter table modes.t add i bigint generated always as identity",
        "alter table modes.t add s serial", "create publication modes_p for table modes.t",
        "create function modes.f() returns setof modes.t language sql as 'select * from modes.t'",
        "create table modes.child () inherits (modes.t)"}) {
    SCOPED_TRACE(hanging);
    see("drop table if exists modes.t cascade");
    see("drop publication if exists modes_p");
    see("delete from modes.parent");
    see("insert into modes.parent select generate_series(1, 9)");
    see("create table modes.t (n bigint, m bigint)");
    see("insert into modes.t values (7)");
    see(hanging);
    const std::string oid = see("select 'modes.t'::regclass::oid");
    load("modes.t", LoadMode::replace, 4);
    EXPECT_EQ(see("select sum(n) from only modes.t"), "10");
    EXPECT_EQ(see("select 'modes.t'::regclass::oid"), oid);
  }
  see("drop publication if exists modes_p");
}

TEST_F(Modes, ReplaceNamesTheTablesWhoseForeignKeysForbidIt) {
  see("create table modes.t (n bigint primary key)");
  see("create table modes.child (n bigint references modes.t)");
  const std::string text = refusal("modes.t", LoadMode::replace);
  EXPECT_NE(text.find("modes.child"), std::string::npos) << text;
}

TEST_F(Modes, PartitionedTablesAreEmptiedAndFilled) {
  see("create table modes.t (n bigint) partition by range (n)");
  see("create table modes.t1 partition of modes.t for values from (0) to (3)");
  see("create table modes.t2 partition of modes.t for values from (3) to (100)");
  see("insert into modes.t values (50)");
  for (const LoadMode mode : {LoadMode::replace, LoadMode::truncate}) {
    load("modes.t", mode, 4);
    EXPECT_EQ(see("select sum(n) from modes.t"), "10");
  }
}

TEST_F(Modes, AFailureLeavesTheOldContent) {
  see("create table modes.t (n bigint)");
  see("insert into modes.t values (7)");
  for (const LoadMode mode : {LoadMode::replace, LoadMode::truncate, LoadMode::append}) {
    load("modes.t", mode, 4, /*commit=*/false, "export");
    connection_->rollback();
    EXPECT_EQ(see("select sum(n) from modes.t"), "7");
  }
}

TEST_F(Modes, AnExportIsAppendedOnce) {
  see("create table modes.t (n bigint)");
  for (const bool loaded : {false, true}) {
    connection_->begin();
    LoadSession session(*connection_, settings_);
    TableLoad table(session, "modes.t", LoadMode::append);
    table.take_turn();
    table.lock();
    EXPECT_EQ(table.already_loaded("export-1"), loaded);
    EXPECT_FALSE(table.already_loaded("export-2"));
    if (!loaded) table.publish("export-1", 0);
    connection_->commit();
  }
}

TEST_F(Modes, ColumnsAreDescribedByTheTypeThatEncodesThem) {
  see("create domain modes.money as numeric(12,2) not null");
  see("create domain modes.price as modes.money default 1");
  see("create type modes.color as enum ('red', 'green')");
  see("create table modes.t (p modes.price, c modes.color, a integer[], v varchar(7) not null, g bigint generated always as (1) "
      "stored,"
      " i bigint generated by default as identity, t timestamp(3), \"Select\" text)");
  connection_->begin();
  LoadSession session(*connection_, settings_);
  TableLoad table(session, "modes.t", LoadMode::append);
  table.look();
  const auto& columns = table.columns();
  ASSERT_EQ(columns.size(), 8u);
  EXPECT_EQ(columns[0].type_oid, 1700u);
  EXPECT_EQ(columns[0].typmod, ((12 << 16) | 2) + 4);
  EXPECT_TRUE(columns[0].not_null && columns[0].has_default);
  EXPECT_EQ(columns[0].type, "modes.price");
  EXPECT_EQ(columns[1].kind, 'e');
  EXPECT_EQ(columns[2].element_oid, 23u);
  EXPECT_EQ(columns[3].typmod, 7 + 4);
  EXPECT_TRUE(columns[3].not_null);
  EXPECT_TRUE(columns[4].generated);
  EXPECT_TRUE(columns[5].has_default);
  EXPECT_EQ(columns[6].typmod, 3);
  EXPECT_EQ(columns[7].name, "Select");
}

TEST_F(Modes, LongNamesAreSwappedToo) {
  const std::string name = "modes.\"" + std::string(31, 'x') + "ääääääääääääääää\"";  // 63 bytes
  see("create table " + name + " (n bigint primary key)");
  load(name, LoadMode::replace, 3);
  EXPECT_EQ(see("select sum(n) from " + name), "6");
}

}  // namespace
}  // namespace snowmelt
