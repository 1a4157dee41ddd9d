// manifest.json as an import reads it.
#include "snowmelt/storage/manifest.h"

#include "fuzz_target.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace snowmelt;
  fuzz::scratch().write(kManifestName, fuzz::text_of(data, size));
  fuzz::expect_own_errors([] {
    const Manifest manifest = read_manifest(fuzz::scratch().path());
    if (manifest.rows < 0 || manifest.bytes < 0) std::abort();
    for (const PartInfo& part : manifest.parts) {
      if (part.file.find('/') != std::string::npos || part.rows < 0 || part.bytes < 0) std::abort();
    }
  });
  return 0;
}
