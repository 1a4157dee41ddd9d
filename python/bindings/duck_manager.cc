// Any Python object with get_connection and close as the engine's ConnectionManager, down to the rows of its cursors.
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include <array>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "handles.h"

namespace snowmelt::python {
namespace {

// Kept by objects that any thread may destroy.
class Reference {
 public:
  explicit Reference(nb::object object) : object_(std::move(object)) {}
  Reference(const Reference&) = delete;
  Reference& operator=(const Reference&) = delete;
  ~Reference() {
    if (!nb::is_alive()) {
      object_.release();
      return;
    }
    nb::gil_scoped_acquire acquired;
    object_.reset();
  }
  nb::handle get() const { return object_; }

 private:
  nb::object object_;
};

std::string text_of(nb::handle object) { return nb::cast<std::string>(nb::str(object)); }

Value value_of(nb::handle object) {
  if (object.is_none()) return std::nullopt;
  if (PyBool_Check(object.ptr())) return object.is(Py_True) ? "true" : "false";
  if (nb::isinstance<nb::str>(object)) return nb::cast<std::string>(object);
  if (PyBytes_Check(object.ptr()) || PyByteArray_Check(object.ptr())) return text_of(object.attr("hex")());
  if (PyDict_Check(object.ptr()) || PyList_Check(object.ptr())) {
    return text_of(nb::module_::import_("json").attr("dumps")(object));
  }
  return text_of(object);
}

// Type codes people put into descriptions: names, Python classes, and the numbers of Snowflake's own connector.
std::string type_of(nb::handle code) {
  constexpr std::array<const char*, 14> kNumbers{"fixed",   "real",          "text",         "date",          "timestamp_ntz",
                                                 "variant", "timestamp_ltz", "timestamp_tz", "timestamp_ntz", "object",
                                                 "array",   "binary",        "time",         "boolean"};
  if (nb::isinstance<nb::str>(code)) return text_of(code.attr("lower")());
  if (code.is(reinterpret_cast<PyObject*>(&PyBool_Type))) return "boolean";
  if (code.is(reinterpret_cast<PyObject*>(&PyLong_Type))) return "fixed";
  if (code.is(reinterpret_cast<PyObject*>(&PyFloat_Type))) return "real";
  if (PyLong_CheckExact(code.ptr())) {
    const long number = PyLong_AsLong(code.ptr());
    if (number >= 0 && number < static_cast<long>(kNumbers.size())) return kNumbers[static_cast<size_t>(number)];
    PyErr_Clear();
  }
  return "text";
}

std::optional<int> whole_number(nb::handle item) {
  return PyLong_CheckExact(item.ptr()) ? std::optional(nb::cast<int>(item)) : std::nullopt;
}

ColumnDescription column_of(nb::handle item) {
  ColumnDescription column;
  const auto fields = nb::cast<nb::sequence>(item);
  const size_t count = nb::len(fields);
  column.name = text_of(fields[0]);
  column.type = count > 1 ? type_of(fields[1]) : "text";
  if (count > 4) column.precision = whole_number(fields[4]);
  if (count > 5) column.scale = whole_number(fields[5]);
  if (count > 6 && fields[6].is(Py_False)) column.nullable = false;
  if (column.type == "fixed" && !column.precision) column.precision = 38;
  if (column.type == "fixed" && !column.scale) column.scale = 0;
  return column;
}

class PythonCursor final : public Cursor {
 public:
  PythonCursor(nb::object cursor, Raised raised) : cursor_(std::move(cursor)), raised_(std::move(raised)) {}

  void execute(std::string_view sql, const std::vector<Value>& parameters) override {
    nb::gil_scoped_acquire acquired;
    const nb::str text(sql.data(), sql.size());
    if (parameters.empty()) {
      cursor_.get().attr("execute")(text);
    } else {
      nb::list values;
      for (const Value& value : parameters) values.append(value);
      cursor_.get().attr("execute")(text, values);
    }
    description_.clear();
    const nb::object description = nb::getattr(cursor_.get(), "description", nb::none());
    if (description.is_none()) return;
    for (nb::handle item : description) description_.push_back(column_of(item));
  }

  const std::vector<ColumnDescription>& description() const override { return description_; }

  int64_t rowcount() const override {
    nb::gil_scoped_acquire acquired;
    const nb::object count = nb::getattr(cursor_.get(), "rowcount", nb::none());
    return PyLong_CheckExact(count.ptr()) ? nb::cast<int64_t>(count) : -1;
  }

  std::optional<Row> fetchone() override {
    nb::gil_scoped_acquire acquired;
    try {
      const nb::object fetched = cursor_.get().attr("fetchone")();
      if (fetched.is_none()) return std::nullopt;
      Row row;
      for (nb::handle item : fetched) row.push_back(value_of(item));
      return row;
    } catch (const nb::python_error& error) {
      raised_->set(error);
      throw;
    }
  }

  void close() override {
    nb::gil_scoped_acquire acquired;
    if (nb::hasattr(cursor_.get(), "close")) cursor_.get().attr("close")();
  }

 private:
  Reference cursor_;
  Raised raised_;
  std::vector<ColumnDescription> description_;
};

class PythonConnection final : public Connection {
 public:
  PythonConnection(nb::object connection, Raised raised) : connection_(std::move(connection)), raised_(std::move(raised)) {}
  std::unique_ptr<Cursor> cursor() override {
    nb::gil_scoped_acquire acquired;
    return std::make_unique<PythonCursor>(connection_.get().attr("cursor")(), raised_);
  }
  bool is_open() const override { return true; }

 private:
  Reference connection_;
  Raised raised_;
};

class PythonManager final : public ConnectionManager {
 public:
  PythonManager(nb::object manager, Raised raised) : manager_(std::move(manager)), raised_(std::move(raised)) {}
  std::shared_ptr<Connection> get_connection() override {
    nb::gil_scoped_acquire acquired;
    return connection_of(manager_.get().attr("get_connection")(), raised_);
  }
  void close() override {
    nb::gil_scoped_acquire acquired;
    manager_.get().attr("close")();
  }

 private:
  Reference manager_;
  Raised raised_;
};

}  // namespace

std::shared_ptr<Connection> connection_of(nb::handle object, Raised raised) {
  const nb::object handle = nb::getattr(object, "_handle", nb::none());
  if (nb::isinstance<ConnectionHandle>(handle)) return nb::cast<ConnectionHandle&>(handle).get();
  return std::make_shared<PythonConnection>(nb::borrow(object), std::move(raised));
}

std::shared_ptr<ConnectionManager> manager_of(nb::handle object, Raised raised) {
  if (nb::isinstance<ManagerHandle>(object)) return nb::cast<ManagerHandle&>(object).get();
  return std::make_shared<PythonManager>(nb::borrow(object), std::move(raised));
}

}  // namespace snowmelt::python
