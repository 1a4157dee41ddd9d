#include "errors.h"

#include <nanobind/nanobind.h>

#include <string>

#include "snowmelt/error.h"
#include "snowmelt/foreign_error.h"

namespace snowmelt::python {
namespace nb = nanobind;

namespace {

void raise(const Error& error) {
  // A failure in here is an ordinary Python exception and comes through instead.
  try {
    const ErrorFacts& facts = error.facts();
    const auto text = [](const std::string& value) {
      return nb::steal(PyUnicode_DecodeUTF8(value.data(), static_cast<Py_ssize_t>(value.size()), "replace"));
    };
    const std::string kind(to_string(error.kind()));
    nb::object made = nb::module_::import_("snowmelt.errors")
                          .attr("from_engine")(text(kind), text(error.code()), text(error.message()), text(facts.where),
                                               text(facts.hint), text(facts.sqlstate), text(facts.query_id), facts.vendor_code,
                                               facts.connection_lost, facts.nothing_sent);
    PyErr_SetObject(made.type().ptr(), made.ptr());
  } catch (nb::python_error& problem) {
    problem.restore();
  }
}

}  // namespace

void register_errors() {
  nb::register_exception_translator([](const std::exception_ptr& thrown, void*) {
    try {
      try {
        std::rethrow_exception(thrown);
      } catch (...) {
        rethrow_as_error();
      }
    } catch (const Error& error) {
      raise(error);
    }
  });
}

}  // namespace snowmelt::python
