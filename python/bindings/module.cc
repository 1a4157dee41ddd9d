// The extension snowmelt._snowmelt: handles and calls. What Python users see is python/snowmelt.
#include <nanobind/nanobind.h>

#include "errors.h"
#include "handles.h"

NB_MODULE(_snowmelt, module) {
  using namespace snowmelt::python;
  nanobind::set_leak_warnings(false);  // an error in a global variable at exit holds handles: no leak of ours
  install_log_queue();
  register_errors();
  module.attr("version") = SNOWMELT_VERSION;
  module.def("deliver_messages", &deliver_messages);
  bind_connections(module);
  bind_cursors(module);
  bind_transfer(module);
}
