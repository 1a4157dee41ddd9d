#pragma once

namespace snowmelt::python {

// Engine errors become the classes of snowmelt.errors, with all their facts; what other libraries throw (no thread, no memory)
// becomes what the command line makes of it.
void register_errors();

}  // namespace snowmelt::python
