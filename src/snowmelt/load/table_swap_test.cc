// A staging table and its way into the target's place, on a server.
#include "snowmelt/load/table_swap.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "snowmelt/connections/test_postgres.h"
#include "snowmelt/error.h"
#include "snowmelt/load/staging_table.h"
#include "snowmelt/log.h"

namespace snowmelt {
namespace {

class Swap : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto server = test_postgres();
    if (!server) GTEST_SKIP() << kNoTestServer;
    PostgresConfig config = *server;
    connection_ = open_postgres(config);
    side_ = open_postgres(config);
    config.autocommit = true;
    observer_ = open_postgres(config);
    see("drop schema if exists swap cascade");
    see("create schema swap");
    see("create table swap.t (n bigint primary key, m bigint)");
    see("comment on table swap.t is 'ours'");
    see("create index t_m on swap.t (m)");
    see("insert into swap.t values (1, 1)");
    settings_.publish_lock_timeout = std::chrono::milliseconds(200);
  }
  void TearDown() override {
    set_log_sink({});
    if (!connection_) return;
    connection_->rollback();
    side_->rollback();
    see("drop schema if exists swap cascade");
  }

  std::string see(const std::string& sql) {
    const auto result = observer_->execute(sql);
    return result.rows.empty() || result.rows[0].empty() ? "" : result.rows[0][0].value_or("NULL");
  }
  TargetName target() {
    return {.schema = "swap",
            .table = "t",
            .display = "swap.t",
            .qualified = "\"swap\".\"t\"",
            .oid = see("select 'swap.t'::regclass::oid"),
            .kind = 'r'};
  }
  std::string staging_tables() {
    return see("select count(*) from pg_class where relname like 't_snowmelt_%' and relkind = 'r'");
  }
  void fill(const StagingTable& staging) {
    side_->execute("insert into " + staging.qualified() + " values (7, 70), (8, 80)");
    side_->commit();
  }

  LoadSettings settings_;
  std::shared_ptr<PostgresConnection> connection_, side_, observer_;
};

TEST_F(Swap, TheNewTableHasTheOldOnesNamesIndexesAndComment) {
  begin_load(*connection_);
  LoadSession session(*connection_, settings_);
  const auto swap = TableSwap::plan(session, target());
  ASSERT_NE(swap, nullptr);
  ASSERT_TRUE(swap->read_indexes());
  StagingTable staging(side_, target(), swap->staging_name(), swap->staging_ddl());
  fill(staging);
  EXPECT_EQ(see("select count(*) from swap.t"), "1") << "readers see the old one";
  const std::string before = target().oid;
  const std::string now = swap->publish(2);
  connection_->commit();
  EXPECT_NE(now, before);
  EXPECT_EQ(target().oid, now);
  EXPECT_EQ(see("select sum(m) from swap.t"), "150");
  EXPECT_EQ(see("select string_agg(indexname, ',' order by indexname) from pg_indexes where schemaname = 'swap'"), "t_m,t_pkey");
  EXPECT_EQ(see("select obj_description('swap.t'::regclass)"), "ours");
  EXPECT_EQ(staging_tables(), "0");
}

TEST_F(Swap, ATableThatSomethingHangsOnKeepsItsPlace) {
  see("create view swap.v as select n from swap.t");
  begin_load(*connection_);
  LoadSession session(*connection_, settings_);
  EXPECT_EQ(TableSwap::plan(session, target()), nullptr);
}

TEST_F(Swap, AViewThatComesMeanwhileKeepsTheTableInItsPlace) {
  begin_load(*connection_);
  LoadSession session(*connection_, settings_);
  const auto swap = TableSwap::plan(session, target());
  ASSERT_NE(swap, nullptr);
  ASSERT_TRUE(swap->read_indexes());
  StagingTable staging(side_, target(), swap->staging_name(), swap->staging_ddl());
  fill(staging);
  see("create view swap.v as select n from swap.t");
  const std::string before = target().oid;
  EXPECT_EQ(swap->publish(2), before);
  connection_->commit();
  EXPECT_EQ(see("select sum(n) from swap.v"), "15");
}

TEST_F(Swap, AStagingTableIsThereForOthersAndGoesWithAFailure) {
  const std::string name = new_staging_name("t");
  StagingTable staging(side_, target(), name, "create table swap.\"" + name + "\" (n bigint)");
  EXPECT_EQ(see("select count(*) from " + staging.qualified()), "0") << "committed";
  side_->execute("insert into " + staging.qualified() + " values (1)");
  staging.discard();
  EXPECT_EQ(staging_tables(), "0");
}

TEST_F(Swap, AStagingTableThatCannotBeDroppedIsSaid) {
  const std::string name = new_staging_name("t");
  StagingTable staging(side_, target(), name, "create table swap.\"" + name + "\" (n bigint)");
  connection_->execute("lock table " + staging.qualified() + " in access share mode");
  std::string warning;
  set_log_sink([&](LogLevel level, std::string_view text) {
    if (level == LogLevel::warning) warning = text;
  });
  staging.discard();
  EXPECT_NE(warning.find("the next load does"), std::string::npos) << warning;
  EXPECT_EQ(staging_tables(), "1");
}

TEST_F(Swap, WhatADeadLoadLeftIsSweptAndNothingElse) {
  const std::string name = new_staging_name("t");
  { const StagingTable dead(side_, target(), name, "create table swap.\"" + name + "\" (n bigint)"); }
  see("create table swap.t_snowmelt_00000000 (mine text)");  // a name like ours, without our mark
  begin_load(*connection_);
  LoadSession session(*connection_, settings_);
  sweep_leftovers(session, target());
  connection_->commit();
  EXPECT_EQ(staging_tables(), "1");
  EXPECT_EQ(see("select count(*) from pg_class where relname = 't_snowmelt_00000000'"), "1");
}

TEST_F(Swap, ALongNameKeepsItsSuffixWithin63Bytes) {
  const std::string name = new_staging_name(std::string(63, 'x'));
  EXPECT_EQ(name.size(), 63U);
  EXPECT_NE(name.find("_snowmelt_"), std::string::npos);
  EXPECT_NE(name, new_staging_name(std::string(63, 'x')));
}

}  // namespace
}  // namespace snowmelt
