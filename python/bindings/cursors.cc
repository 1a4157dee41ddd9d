#include <arrow/c/bridge.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "handles.h"
#include "keys.h"
#include "snowmelt/config.h"
#include "snowmelt/extract/result_reader.h"

namespace snowmelt::python {
namespace {

// A PyCapsule of the Arrow PyCapsule interface that owns its structure.
template <typename Struct>
nb::object arrow_capsule(std::unique_ptr<Struct> made, const char* name) {
  PyObject* capsule = PyCapsule_New(made.get(), name, [](PyObject* self) {
    auto* content = static_cast<Struct*>(PyCapsule_GetPointer(self, PyCapsule_GetName(self)));
    if (content->release) content->release(content);
    delete content;
  });
  if (!capsule) throw nb::python_error();
  made.release();
  return nb::steal(capsule);
}

void check(const arrow::Status& status) {
  if (!status.ok()) throw BugError("arrow.export", status.ToString());
}

class ReaderHandle {
 public:
  explicit ReaderHandle(std::shared_ptr<ResultReader> reader) : reader_(std::move(reader)) { reader_.claim(); }

  // (schema, array) capsules of the next batch, or None.
  nb::object next() {
    reader_.claim();
    const auto batch = blocking([reader = *reader_] { return reader->next(); }, [reader = *reader_] { reader->stop(); });
    if (!batch) return nb::none();
    auto schema = std::make_unique<ArrowSchema>();
    auto array = std::make_unique<ArrowArray>();
    check(arrow::ExportRecordBatch(*batch, array.get(), schema.get()));
    return nb::make_tuple(arrow_capsule(std::move(schema), "arrow_schema"), arrow_capsule(std::move(array), "arrow_array"));
  }

  nb::object schema() {
    reader_.claim();
    auto schema = std::make_unique<ArrowSchema>();
    check(arrow::ExportSchema(*reader_->schema(), schema.get()));
    return arrow_capsule(std::move(schema), "arrow_schema");
  }

  // All that is left as one stream; batches are made as the consumer asks.
  nb::object stream() {
    reader_.claim();
    auto stream = std::make_unique<ArrowArrayStream>();
    check(arrow::ExportRecordBatchReader(*reader_, stream.get()));
    return arrow_capsule(std::move(stream), "arrow_array_stream");
  }

 private:
  Owned<ResultReader> reader_;  // let go, it joins the downloading threads
};

nb::object to_python(const Value& value, PyObject* converter) {
  if (!value) return nb::none();
  nb::object text = nb::steal(PyUnicode_DecodeUTF8(value->data(), static_cast<Py_ssize_t>(value->size()), "surrogateescape"));
  if (!text) throw nb::python_error();
  if (converter == Py_None) return text;
  nb::object made = nb::steal(PyObject_CallOneArg(converter, text.ptr()));
  if (!made) throw nb::python_error();
  return made;
}

class CursorHandle {
  // A cursor serves one thread at a time; a call left behind by Ctrl-C still has it.
  template <typename Work>
  auto exclusive(Work work, std::function<void()> stop = {}) {
    if (busy_->exchange(true)) {
      throw UsageError("cursor.busy", "another thread is using this cursor", {.hint = "give each thread a cursor of its own"});
    }
    const std::shared_ptr<void> lease(nullptr, [busy = busy_](void*) { *busy = false; });
    return blocking([work = std::move(work), lease]() mutable { return work(); }, std::move(stop));
  }

 public:
  explicit CursorHandle(std::shared_ptr<ConnectionHandle> connection)
      : connection_(std::move(connection)), cursor_(std::make_shared<Owned<Cursor>>(connection_->get()->cursor())) {}

  void execute(const std::string& sql, std::vector<Value> parameters) {
    connection_->get();
    stop_ = std::stop_source();  // of this statement, and of the rows that are fetched from it
    exclusive(
        [cursor = **cursor_, stop = stop_.get_token(), sql, parameters = std::move(parameters)] {
          cursor->set_stop_token(stop);
          cursor->execute(sql, parameters);
        },
        stopping());
  }

  nb::list description() const {
    nb::list columns;
    for (const ColumnDescription& column : (**cursor_)->description()) {
      columns.append(nb::make_tuple(column.name, column.type, column.length, column.precision, column.scale, column.nullable));
    }
    return columns;
  }

  int64_t rowcount() const { return (**cursor_)->rowcount(); }

  // Up to `count` rows, and whether they are the last. Large rows come fewer at once.
  nb::tuple fetch(size_t count, const nb::tuple& converters) {
    connection_->get();
    struct Fetched {
      std::vector<Row> rows;
      bool ended = false;
    };
    const auto fetched = exclusive(
        [cursor = **cursor_, count] {
          constexpr size_t kBytesMax = 8 << 20;
          Fetched some;
          for (size_t bytes = 0; some.rows.size() < count && bytes < kBytesMax;) {
            std::optional<Row> row = cursor->fetchone();
            if (!row) {
              some.ended = true;
              break;
            }
            for (const Value& value : *row) bytes += value ? value->size() : 0;
            some.rows.push_back(std::move(*row));
          }
          return some;
        },
        stopping());
    nb::list out;
    for (const Row& row : fetched.rows) {
      nb::object values = nb::steal(PyTuple_New(static_cast<Py_ssize_t>(row.size())));
      for (size_t i = 0; i < row.size(); ++i) {
        PyTuple_SET_ITEM(values.ptr(), static_cast<Py_ssize_t>(i), to_python(row[i], converters[i].ptr()).release().ptr());
      }
      out.append(std::move(values));
    }
    return nb::make_tuple(out, fetched.ended);
  }

  std::optional<std::string> query_id() const {
    const StatementResult* result = (**cursor_)->result();
    return result ? std::optional(result->query_id) : std::nullopt;
  }

  std::shared_ptr<ReaderHandle> reader(const std::string& integers, const std::string& on_subsecond, bool tz_offset) {
    TableConfig table;  // its keys' own words and messages
    set_key(table, "integers", integers);
    set_key(table, "on_subsecond", on_subsecond);
    set_key(table, "tz_offset", tz_offset);
    const StatementResult* result = (**cursor_)->result();
    if (!result) {
      throw UsageError("cursor.no_arrow", "this cursor has no Arrow result",
                       {.hint = "execute a query on a Snowflake connection first, or fetch rows"});
    }
    ResultReaderOptions options;
    options.rules = table.rules;
    options.memory_limit = load_config().export_.memory_limit;
    const auto connection = std::dynamic_pointer_cast<SnowflakeConnection>(connection_->get());
    return std::make_shared<ReaderHandle>(open_result_reader(source_session(connection), *result, options));
  }

  void close() {
    if (!connection_->forked() && !*busy_) exclusive([cursor = **cursor_] { cursor->close(); });
  }

 private:
  std::function<void()> stopping() {
    return [stop = stop_]() mutable { stop.request_stop(); };
  }

  std::shared_ptr<ConnectionHandle> connection_;
  std::shared_ptr<Owned<Cursor>> cursor_;
  std::stop_source stop_;
  std::shared_ptr<std::atomic<bool>> busy_ = std::make_shared<std::atomic<bool>>(false);
};

}  // namespace

void bind_cursors(nb::module_& module) {
  nb::class_<ReaderHandle>(module, "ReaderHandle")
      .def("next", &ReaderHandle::next)
      .def("schema", &ReaderHandle::schema)
      .def("stream", &ReaderHandle::stream);
  nb::class_<CursorHandle>(module, "CursorHandle")
      .def(nb::init<std::shared_ptr<ConnectionHandle>>())
      .def("execute", &CursorHandle::execute, nb::arg("sql"), nb::arg("parameters"))
      .def("description", &CursorHandle::description)
      .def("rowcount", &CursorHandle::rowcount)
      .def("fetch", &CursorHandle::fetch)
      .def("query_id", &CursorHandle::query_id)
      .def("reader", &CursorHandle::reader)
      .def("close", &CursorHandle::close);
}

}  // namespace snowmelt::python
