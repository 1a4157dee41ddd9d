// connections.toml or config.toml of Snowflake's own tools; the first byte says which.
#include "snowmelt/connections_file.h"

#include "fuzz_target.h"
#include "snowmelt/config.h"

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  ::setenv("SNOWFLAKE_HOME", snowmelt::fuzz::scratch().path().c_str(), 1);
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace snowmelt;
  if (size < 1) return -1;
  const bool config_toml = data[0] % 2 == 0;
  const auto file = fuzz::scratch().write(config_toml ? "config.toml" : "connections.toml", fuzz::text_of(data + 1, size - 1));
  const auto settings = fuzz::scratch().write("snowmelt.toml", "[export]\n");
  fuzz::expect_own_errors([&] { load_config(settings); });
  fuzz::expect_own_errors([] { find_connection("dev"); });
  std::filesystem::remove(file);
  return 0;
}
