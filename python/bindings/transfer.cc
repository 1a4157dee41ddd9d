#include <nanobind/stl/filesystem.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "handles.h"
#include "keys.h"
#include "snowmelt/config.h"
#include "snowmelt/extract/snowflake_data_extractor.h"
#include "snowmelt/load/postgresql_data_loader.h"
#include "snowmelt/pipeline/export_data.h"
#include "snowmelt/pipeline/import_data.h"

namespace snowmelt::python {
namespace {

using Path = std::filesystem::path;
using Password = std::optional<std::string>;

std::optional<FilePassword> secret(const Password& password) {
  return password ? std::optional(Secret(*password)) : std::nullopt;
}

TableConfig table_of(const Keys& given) { return with_keys(TableConfig{}, given); }

// Keys lie over [export] of snowmelt.toml, as flags do. Who gives them all (from another file) has that file left alone.
struct Settings {
  ExportConfig export_;
  std::chrono::milliseconds wait;  // [postgres] wait, for another run in the export directory
};

Settings settings_of(const Keys& given) {
  const bool all = given.size() >= keys<ExportConfig>().size();
  Config config;
  if (!all) config = load_config();
  return {with_keys(config.export_, given), config.postgres.wait};
}

// Any manager's table: names and targets filled in as the command line does.
TableConfig complete(const Keys& given, const ManagerHandle* manager) {
  TableConfig table = table_of(given);
  Config config;
  if (manager && manager->snowflake()) {
    config.snowflake = manager->snowflake()->config();
  } else {
    config = load_config();
  }
  complete_table(config, table, "table_config");
  return table;
}

const ManagerHandle* engine_manager(nb::handle object) {
  return nb::isinstance<ManagerHandle>(object) ? &nb::cast<ManagerHandle&>(object) : nullptr;
}

// blocking(), where what the user's own manager raised comes through as it was.
template <typename Work>
auto with_python(const Raised& raised, Work work, std::function<void()> stop) {
  try {
    return blocking(std::move(work), std::move(stop));
  } catch (const Error&) {
    raised->rethrow();
    throw;
  }
}

class ExtractionHandle {
 public:
  ExtractionHandle(std::shared_ptr<Extraction> extraction, std::stop_source stop, Raised raised)
      : extraction_(std::in_place, std::move(extraction)), stop_(std::move(stop)), raised_(std::move(raised)) {
    extraction_->claim();
  }

  std::optional<Path> next() {
    if (!extraction_) return std::nullopt;
    extraction_->claim();
    const std::shared_ptr<Extraction> extraction = **extraction_;
    const auto part = with_python(
        raised_, [extraction] { return extraction->next(); }, [stop = stop_]() mutable { stop.request_stop(); });
    if (!part) return std::nullopt;
    return extraction->directory() / part->file;
  }
  // Stops what is still under way; then there is no manifest. In a forked child the parent's goes on.
  void close() { extraction_.reset(); }

 private:
  std::optional<Owned<Extraction>> extraction_;  // empty once closed
  std::stop_source stop_;
  Raised raised_;
};

std::shared_ptr<ExtractionHandle> extract(nb::object manager, const Keys& table_keys, const Keys& setting_keys,
                                          const Password& password) {
  const TableConfig table = table_of(table_keys);
  std::stop_source stop;
  const Settings settings = settings_of(setting_keys);
  ExtractOptions options{settings.export_, secret(password)};
  options.stop = stop.get_token();
  options.wait = settings.wait;
  const auto raised = std::make_shared<RaisedInPython>();
  auto extraction = blocking(
      [engine = manager_of(manager, raised), table, options] {
        return std::make_shared<Extraction>(SnowflakeDataExtractor(engine).extract_table_chunks(table, options));
      },
      [stop]() mutable { stop.request_stop(); });
  return std::make_shared<ExtractionHandle>(std::move(extraction), std::move(stop), raised);
}

nb::tuple estimate(nb::object manager, const std::string& source) {
  const TableSize size =
      blocking([engine = manager_of(manager), source] { return SnowflakeDataExtractor(engine).estimate_table_size(source); });
  return nb::make_tuple(size.rows, size.bytes);
}

int64_t load(nb::object manager, const Path& path, const std::string& target, const Keys& table_keys, const Password& password) {
  const TableConfig table = table_of(table_keys);
  std::stop_source stop;
  LoadOptions options{.mode = table.mode, .rules = table.rules, .password = secret(password)};
  options.stop = stop.get_token();
  return blocking([engine = manager_of(manager), path, target,
                   options] { return PostgreSQLDataLoader(engine).load_parquet_to_table(path, target, options); },
                  [stop]() mutable { stop.request_stop(); });
}

nb::dict report_of(const TableReport& report) {
  nb::dict out;
  out["source"] = report.source;
  out["target"] = report.target;
  out["rows"] = report.rows;
  out["bytes"] = report.bytes;
  out["parts"] = report.parts;
  return out;
}

nb::dict export_one(nb::object manager, const Keys& table_keys, const Keys& setting_keys, const Password& password) {
  const TableConfig table = complete(table_keys, engine_manager(manager));
  std::stop_source stop;
  const Settings settings = settings_of(setting_keys);
  RunOptions options{.export_ = settings.export_};
  options.stop = stop.get_token();
  options.wait = settings.wait;
  const auto raised = std::make_shared<RaisedInPython>();
  return report_of(with_python(
      raised,
      [engine = manager_of(manager, raised), table, password, options] {
        return export_table(table, secret(password), options.export_.directory, engine, options);
      },
      [stop]() mutable { stop.request_stop(); }));
}

nb::dict import_one(nb::object manager, const Keys& table_keys, const Password& password, const Path& directory) {
  const TableConfig table = complete(table_keys, nullptr);
  std::stop_source stop;
  const Settings settings = settings_of({});
  RunOptions options{.export_ = settings.export_};
  options.stop = stop.get_token();
  options.wait = settings.wait;
  return report_of(blocking([engine = manager_of(manager), table, password, directory,
                             options] { return import_table(table, secret(password), directory, engine, options); },
                            [stop]() mutable { stop.request_stop(); }));
}

// The report as JSON text; the tables' failures are in it.
std::string run_all(bool exporting, nb::object manager, const std::vector<Keys>& tables, const Keys& setting_keys,
                    const Password& password, int jobs) {
  // Of the configuration only what a target is made of is wanted, where one is missing.
  const auto has_target = [](const Keys& keys) {
    return std::any_of(keys.begin(), keys.end(), [](const auto& key) { return key.first == "target"; });
  };
  Config config;
  if (!exporting && !std::all_of(tables.begin(), tables.end(), has_target)) config = load_config();
  config.tables.clear();
  if (const ManagerHandle* engine = engine_manager(manager); engine && engine->snowflake()) {
    config.snowflake = engine->snowflake()->config();
  }
  for (const Keys& keys : tables) config.tables.push_back(table_of(keys));
  validate_tables(config);
  std::stop_source stop;
  const Settings settings = settings_of(setting_keys);
  RunOptions options{.export_ = settings.export_, .password = secret(password), .jobs = jobs};
  options.stop = stop.get_token();
  options.wait = settings.wait;
  return blocking([exporting, engine = manager_of(manager), tables = config.tables,
                   options] { return (exporting ? export_data : import_data)(tables, engine, options).to_json(); },
                  [stop]() mutable { stop.request_stop(); });
}

nb::dict configuration(const std::optional<Path>& file) {
  Config config = load_config(file);
  if (!config.tables.empty()) validate_tables(config);
  nb::list tables;
  for (const TableConfig& table : config.tables) tables.append(dict_of(table));
  nb::dict out;
  out["tables"] = tables;
  out["directory"] = config.export_.directory.string();
  out["export"] = dict_of(config.export_);
  return out;
}

template <typename Section>
void list_keys(nb::list& out) {
  const Section defaults;
  for (const auto& key : keys<Section>()) {
    nb::dict row;
    row["section"] = section_name<Section>();
    row["name"] = key.name;
    row["type"] = to_string(key.type);
    row["variable"] = key.variable;
    row["words"] = std::vector<std::string_view>(key.words.begin(), key.words.end());
    row["default"] = key.get(defaults);
    row["fallback"] = key.fallback;
    row["meaning"] = key.meaning;
    out.append(row);
  }
}

// The key table: for docs/configuration.md and for tests.
nb::list configuration_keys() {
  nb::list out;
  list_keys<SnowflakeConfig>(out);
  list_keys<PostgresConfig>(out);
  list_keys<ExportConfig>(out);
  list_keys<TableConfig>(out);
  return out;
}

}  // namespace

void bind_transfer(nb::module_& module) {
  nb::class_<ExtractionHandle>(module, "ExtractionHandle")
      .def("next", &ExtractionHandle::next)
      .def("close", &ExtractionHandle::close);
  module.def("extract", &extract, nb::arg(), nb::arg(), nb::arg(), nb::arg().none());
  module.def("estimate", &estimate);
  module.def("load", &load, nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg().none());
  module.def("export_one", &export_one, nb::arg(), nb::arg(), nb::arg(), nb::arg().none());
  module.def("import_one", &import_one, nb::arg(), nb::arg(), nb::arg().none(), nb::arg());
  module.def("run_all", &run_all, nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg().none(), nb::arg());
  module.def("configuration", &configuration, nb::arg().none());
  module.def("configuration_keys", &configuration_keys);
}

}  // namespace snowmelt::python
