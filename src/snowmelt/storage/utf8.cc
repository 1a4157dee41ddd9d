#include "snowmelt/storage/utf8.h"

#include <arrow/util/utf8.h>

namespace snowmelt {
namespace {

// Arrow's checker fills its tables once.
const bool kTablesReady = [] {
  arrow::util::InitializeUTF8();
  return true;
}();

}  // namespace

bool is_utf8(const uint8_t* text, int64_t bytes) { return kTablesReady && arrow::util::ValidateUTF8(text, bytes); }

}  // namespace snowmelt
