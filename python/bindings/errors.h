#pragma once

namespace snowmelt::python {

// Engine errors become the classes of snowmelt.errors, with all their facts.
void register_errors();

}  // namespace snowmelt::python
