#include <nanobind/stl/filesystem.h>
#include <nanobind/stl/map.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "handles.h"
#include "keys.h"
#include "snowmelt/config.h"
#include "snowmelt/extract/row_reader.h"

namespace snowmelt::python {
namespace {

using ConfigFile = std::optional<std::filesystem::path>;  // none: snowmelt.toml

bool has_key(const Keys& given, std::string_view name) {
  return std::any_of(given.begin(), given.end(), [&](const auto& key) { return key.first == name; });
}

// Keys lie over snowmelt.toml and the environment, as flags do; with an account of their own they stand alone, so that no
// password of the configuration goes to another server.
std::shared_ptr<ManagerHandle> snowflake_manager(const Keys& given, const ConfigFile& file) {
  const SnowflakeConfig config = with_keys(has_key(given, "account") ? SnowflakeConfig{} : load_config(file).snowflake, given);
  auto manager = std::make_shared<SnowflakeConnectionManager>(config);
  manager->set_row_reader(arrow_row_reader(SubsecondMode::truncate));  // Python's datetime ends at the microsecond
  return std::make_shared<ManagerHandle>(std::move(manager));
}

// Keys that say where to connect stand alone (libpq adds PG*); autocommit and connect_timeout lie over the configuration.
std::shared_ptr<ManagerHandle> postgres_manager(const Keys& given, const ConfigFile& file) {
  const bool own_place = std::any_of(given.begin(), given.end(),
                                     [](const auto& key) { return key.first != "autocommit" && key.first != "connect_timeout"; });
  const PostgresConfig config = with_keys(own_place ? PostgresConfig{} : load_config(file).postgres, given);
  return std::make_shared<ManagerHandle>(std::make_shared<PostgresConnectionManager>(config));
}

// Null when `known` is still the manager's connection.
std::shared_ptr<ConnectionHandle> get_connection(ManagerHandle& self, const ConnectionHandle* known) {
  const auto manager = self.get();
  const std::stop_source stop = self.fresh_stop();
  const auto connection = blocking([manager] { return manager->get_connection(); }, [stop]() mutable { stop.request_stop(); });
  if (known && known->address() == connection.get()) return nullptr;
  return std::make_shared<ConnectionHandle>(connection);
}

bool is_alive(ManagerHandle& self) {
  if (self.forked()) return false;
  return blocking([manager = self.get()] { return manager->is_alive(); });
}

void close_manager(ManagerHandle& self) {
  if (self.forked()) return;  // the parent's connection is not ours to end
  blocking([manager = self.get()] { manager->close(); });
}

template <typename Call>
void in_postgres(ManagerHandle& self, Call call) {
  const auto manager = std::dynamic_pointer_cast<PostgresConnectionManager>(self.get());
  if (!manager) throw UsageError("connection.no_transactions", "only PostgreSQL's connection manager has transactions");
  blocking([manager, call] { call(*manager); });
}

std::shared_ptr<PostgresConnection> postgres_of(ConnectionHandle& self) {
  auto connection = std::dynamic_pointer_cast<PostgresConnection>(self.get());
  if (!connection) throw UsageError("connection.no_transactions", "a Snowflake connection here has no transactions");
  return connection;
}

// What a repr shows; never a secret.
std::map<std::string, std::string> place(const ManagerHandle& self) {
  if (const auto* snowflake = self.snowflake()) {
    return {{"account", snowflake->config().account}, {"user", snowflake->config().user}};
  }
  const PostgresConfig& config = self.postgres()->config();
  return {{"service", config.service}, {"host", config.host}, {"dbname", config.dbname}, {"user", config.user}};
}

}  // namespace

void bind_connections(nb::module_& module) {
  nb::class_<ConnectionHandle>(module, "ConnectionHandle")
      .def("is_open", [](ConnectionHandle& self) { return !self.forked() && self.get()->is_open(); })
      .def("in_transaction", [](ConnectionHandle& self) { return postgres_of(self)->in_transaction(); })
      .def("commit", [](ConnectionHandle& self) { blocking([c = postgres_of(self)] { c->commit(); }); })
      .def("rollback", [](ConnectionHandle& self) { blocking([c = postgres_of(self)] { c->rollback(); }); })
      .def("server_version",
           [](ConnectionHandle& self) { return blocking([c = postgres_of(self)] { return c->server_version(); }); });

  nb::class_<ManagerHandle>(module, "ManagerHandle")
      .def("get_connection", &get_connection, nb::arg("known").none())
      .def("is_alive", &is_alive)
      .def("close", &close_manager)
      .def("commit", [](ManagerHandle& self) { in_postgres(self, [](auto& manager) { manager.commit(); }); })
      .def("rollback", [](ManagerHandle& self) { in_postgres(self, [](auto& manager) { manager.rollback(); }); })
      .def("autocommit", [](const ManagerHandle& self) { return self.postgres() && self.postgres()->autocommit(); })
      .def("connections_opened", [](const ManagerHandle& self) { return self.peek().connections_opened(); })
      .def("logins_by_kind",
           [](const ManagerHandle& self) {
             return self.snowflake() ? self.snowflake()->logins_by_kind() : std::map<std::string, int64_t>{};
           })
      .def("place", &place);

  module.def("snowflake_manager", &snowflake_manager, nb::arg(), nb::arg().none());
  module.def("postgres_manager", &postgres_manager, nb::arg(), nb::arg().none());
  module.attr("NO_MANAGER_WARNING") = kNoManagerWarning;
}

}  // namespace snowmelt::python
