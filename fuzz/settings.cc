// snowmelt.toml, read and held against itself before any network.
#include "fuzz_target.h"
#include "snowmelt/config.h"

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  ::setenv("SNOWFLAKE_HOME", "/nonexistent", 1);
  ::setenv("XDG_CONFIG_HOME", "/nonexistent", 1);
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace snowmelt;
  const auto file = fuzz::scratch().write("snowmelt.toml", fuzz::text_of(data, size));
  fuzz::expect_own_errors([&] {
    Config config = load_config(file);
    validate_tables(config);
  });
  return 0;
}
