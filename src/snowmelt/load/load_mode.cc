#include "snowmelt/load/load_mode.h"

#include <fmt/format.h>

#include "snowmelt/error.h"

namespace snowmelt {
namespace {

std::string one(PostgresConnection& connection, std::string_view sql, const std::vector<Value>& parameters) {
  const auto result = connection.execute(sql, parameters);
  return result.rows.empty() ? std::string() : result.rows[0][0].value_or("");
}

}  // namespace

TableLoad::TableLoad(PostgresConnection& connection, const std::string& target, LoadMode mode)
    : connection_(connection), mode_(mode) {
  const auto parts = parse_name(target, Fold::lower, 2);
  table_ = parts.back();
  schema_ = parts.size() == 2 ? parts[0] : one(connection, "select current_schema()", {});
  display_name_ = schema_ + "." + table_;
  qualified_ = quote_identifier(schema_) + "." + quote_identifier(table_);
  look();
  if (exists_ && mode == LoadMode::create)
    throw PostgresError("postgres.table_exists", "the table exists already", {.where = display_name_, .hint = "set mode"});
}

void TableLoad::look() {
  columns_.clear();
  const std::string oid = one(connection_,
                              "select c.oid from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace "
                              "where n.nspname=$1 and c.relname=$2",
                              {schema_, table_});
  exists_ = !oid.empty();
  if (!exists_) return;
  const auto result = connection_.execute(
      "select a.attname, format_type(a.atttypid,a.atttypmod), a.atttypid, a.atttypmod, t.typtype, case when t.typcategory='A' "
      "then t.typelem else 0 end, t.typname, a.attnotnull, a.atthasdef, a.attgenerated "
      "from pg_catalog.pg_attribute a join pg_catalog.pg_type t on t.oid=a.atttypid where a.attrelid=$1 and a.attnum>0 and not "
      "a.attisdropped order by a.attnum",
      {oid});
  for (const Row& r : result.rows) {
    columns_.push_back({.name = *r[0],
                        .type = *r[1],
                        .type_oid = (uint32_t)std::stoul(*r[2]),
                        .typmod = std::stoi(*r[3]),
                        .kind = (*r[4])[0],
                        .element_oid = (uint32_t)std::stoul(*r[5]),
                        .base_name = *r[6],
                        .not_null = *r[7] == "t",
                        .has_default = *r[8] == "t",
                        .generated = !r[9]->empty()});
  }
}

bool TableLoad::already_loaded(const std::string&) { return false; }

std::string TableLoad::prepare(const std::vector<NewColumn>& new_table, const std::vector<std::string>& columns) {
  if (!exists_) {
    connection_.execute("create schema if not exists " + quote_identifier(schema_));
    std::string ddl = "create table " + qualified_ + " (";
    for (size_t i = 0; i < new_table.size(); ++i)
      ddl += fmt::format("{}{} {}{}", i ? ", " : "", quote_identifier(new_table[i].name), new_table[i].type,
                         new_table[i].not_null ? " not null" : "");
    connection_.execute(ddl + ")");
    look();
  } else if (mode_ != LoadMode::append) {
    connection_.execute("truncate " + qualified_);
  }
  std::string names;
  for (const auto& c : columns) names += (names.empty() ? "" : ", ") + quote_identifier(c);
  return fmt::format("copy {} ({}) from stdin with (format binary{})", qualified_, names,
                     mode_ == LoadMode::append ? "" : ", freeze");
}

void TableLoad::publish(const std::string&, int64_t) {}

}  // namespace snowmelt
