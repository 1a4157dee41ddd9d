#include "snowmelt/machine_limits.h"

#include <gtest/gtest.h>

#include <fstream>

namespace snowmelt {
namespace {

namespace fs = std::filesystem;

class MachineLimitsTest : public testing::Test {
 protected:
  MachineLimitsTest() { fs::create_directories(root_); }
  ~MachineLimitsTest() override { fs::remove_all(root_); }

  void write(const std::string& file, const std::string& text) const {
    fs::create_directories((root_ / file).parent_path());
    std::ofstream(root_ / file) << text;
  }

  const fs::path root_ = fs::path(testing::TempDir()) / testing::UnitTest::GetInstance()->current_test_info()->name();
  const MachineLimits host_ = machine_limits(root_ / "nothing");
};

TEST_F(MachineLimitsTest, the_host_where_there_are_no_groups) {
  EXPECT_GT(host_.memory_bytes, 1 << 20);
  EXPECT_GE(host_.cores, 1);
  write("proc/self/cgroup", "0::/\n");
  write("sys/fs/cgroup/memory.max", "max\n");
  write("sys/fs/cgroup/cpu.max", "max 100000\n");
  EXPECT_EQ(machine_limits(root_).memory_bytes, host_.memory_bytes);
  EXPECT_EQ(machine_limits(root_).cores, host_.cores);
}

TEST_F(MachineLimitsTest, version_2_with_those_above) {
  write("proc/self/cgroup", "0::/a.slice/b.service\n");
  write("sys/fs/cgroup/a.slice/b.service/memory.max", "max\n");
  write("sys/fs/cgroup/a.slice/b.service/cpu.max", "50000 100000\n");
  write("sys/fs/cgroup/a.slice/memory.max", "2097152\n");
  EXPECT_EQ(machine_limits(root_).memory_bytes, 2 << 20);
  EXPECT_EQ(machine_limits(root_).cores, 1);
  write("sys/fs/cgroup/a.slice/memory.high", "1048576\n");
  EXPECT_EQ(machine_limits(root_).memory_bytes, 1 << 20);
}

TEST_F(MachineLimitsTest, version_1_inside_a_container) {
  write("proc/self/cgroup", "4:memory:/docker/0123\n2:cpu,cpuacct:/docker/0123\n1:name=systemd:/\n0::/\n");
  write("sys/fs/cgroup/memory/memory.limit_in_bytes", "1073741824\n");
  write("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n");
  write("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(machine_limits(root_).memory_bytes, std::min<int64_t>(1 << 30, host_.memory_bytes));
  EXPECT_EQ(machine_limits(root_).cores, host_.cores);
  write("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
  EXPECT_EQ(machine_limits(root_).memory_bytes, host_.memory_bytes) << "no limit";
  write("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "100000\n");
  EXPECT_EQ(machine_limits(root_).cores, 1);
}

TEST_F(MachineLimitsTest, nonsense_is_no_limit) {
  write("proc/self/cgroup", "x\n:::\n0::\n4:memory\n");
  write("sys/fs/cgroup/memory.max", "12x\n");
  write("sys/fs/cgroup/cpu.max", "100\n");
  EXPECT_EQ(machine_limits(root_).memory_bytes, host_.memory_bytes);
  EXPECT_EQ(machine_limits(root_).cores, host_.cores);
}

}  // namespace
}  // namespace snowmelt
