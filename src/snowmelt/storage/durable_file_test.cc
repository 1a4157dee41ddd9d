#include "snowmelt/storage/durable_file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "snowmelt/error.h"
#include "snowmelt/storage/test_directory.h"

namespace snowmelt {
namespace {

namespace fs = std::filesystem;

std::string content(const fs::path& file) {
  std::ifstream stream(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}

mode_t mode_of(const fs::path& file) {
  struct stat status {};
  EXPECT_EQ(::stat(file.c_str(), &status), 0);
  return status.st_mode & 0777;
}

class DurableFileTest : public testing::Test {
 protected:
  fs::path target() const { return directory_.path() / "target"; }
  fs::path temporary() const { return directory_.path() / "target.tmp"; }
  TestDirectory directory_;
};

TEST_F(DurableFileTest, IsThereWholeOrNotAtAll) {
  {
    DurableFile file(temporary(), target());
    file.write("abc", 3);
    EXPECT_EQ(file.size(), 3);
    EXPECT_FALSE(fs::exists(target()));
  }
  EXPECT_FALSE(fs::exists(temporary())) << "given up";
  DurableFile file(temporary(), target());
  file.write("ab", 2);
  file.write("c", 1);
  EXPECT_EQ(file.publish(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(content(target()), "abc");
  EXPECT_FALSE(fs::exists(temporary()));
  EXPECT_EQ(mode_of(target()), 0600U);
}

TEST_F(DurableFileTest, ReplacesTheOneBefore) {
  std::ofstream(target()) << "before";
  DurableFile file(temporary(), target(), FilePermissions::group);
  file.write("after", 5);
  EXPECT_EQ(content(target()), "before");
  file.publish();
  EXPECT_EQ(content(target()), "after");
  EXPECT_EQ(mode_of(target()), 0640U);
}

TEST_F(DurableFileTest, IsNewWhateverADeadRunLeftUnderItsName) {
  const fs::path precious = directory_.path() / "precious";
  std::ofstream(precious) << "mine";
  fs::create_hard_link(precious, temporary());
  {
    DurableFile file(temporary(), target());
    file.write("x", 1);
    file.publish();
  }
  fs::create_symlink(precious, temporary());
  DurableFile file(temporary(), target());
  file.write("y", 1);
  file.publish();
  EXPECT_EQ(content(precious), "mine");
  EXPECT_EQ(content(target()), "y");
}

TEST_F(DurableFileTest, WhatCannotBePublishedLeavesTheOneBefore) {
  fs::create_directories(target() / "in the way");
  {
    DurableFile file(temporary(), target());
    file.write("x", 1);
    EXPECT_THROW(file.publish(), FileError);
  }
  EXPECT_TRUE(fs::is_directory(target() / "in the way"));
  EXPECT_FALSE(fs::exists(temporary()));
  EXPECT_THROW(DurableFile(directory_.path() / "no" / "such.tmp", directory_.path() / "no" / "such"), FileError);
}

TEST_F(DurableFileTest, DirectoriesAreMadeWithTheirParents) {
  make_directories(directory_.path() / "a" / "b");
  EXPECT_EQ(mode_of(directory_.path() / "a" / "b"), 0700U);
  std::ofstream(directory_.path() / "file") << "";
  try {
    make_directories(directory_.path() / "file" / "b");
    ADD_FAILURE();
  } catch (const FileError& error) {
    EXPECT_NE(std::string(error.what()).find("file"), std::string::npos);
  }
  EXPECT_THROW(sync_directory(directory_.path() / "missing"), FileError);
}

}  // namespace
}  // namespace snowmelt
