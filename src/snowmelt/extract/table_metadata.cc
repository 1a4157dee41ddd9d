#include "snowmelt/extract/table_metadata.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "snowmelt/error.h"
#include "snowmelt/extract/row_reader.h"
#include "snowmelt/log.h"
#include "snowmelt/names.h"

namespace snowmelt {
namespace {

std::string quote_literal(const std::string& text) {
  std::string quoted = "'";
  for (const char c : text) {
    if (c == '\'' || c == '\\') quoted += c;  // Snowflake reads backslash escapes in literals
    quoted += c;
  }
  return quoted + "'";
}

std::string quote_identifier(const std::string& name) {
  if (fold_to_postgres(name) != name) return name;  // folds up again by itself
  std::string quoted = "\"";
  for (const char c : name) quoted += c == '"' ? "\"\"" : std::string(1, c);
  return quoted + "\"";
}

struct Asking {
  const std::shared_ptr<SourceSession>& session;
  const std::stop_token& stop;
};

// Rows of SHOW and DESCRIBE by the names of their columns: Snowflake adds columns to them from release to release.
class NamedRows {
 public:
  NamedRows(const Asking& asking, const std::string& sql) {
    SmallResult result = read_small_result(
        asking.session, asking.session->execute_here({.sql = sql, .parameters = {}, .query_tag = {}, .stop = asking.stop}),
        asking.stop);
    for (const ColumnDescription& column : result.columns) places_.emplace(lower_case(column.name), places_.size());
    rows_ = std::move(result.rows);
  }
  const std::vector<Row>& rows() const { return rows_; }
  std::string text(const Row& row, const std::string& name) const {
    const auto place = places_.find(name);
    return place == places_.end() || place->second >= row.size() ? "" : row[place->second].value_or("");
  }

 private:
  std::map<std::string, size_t> places_;
  std::vector<Row> rows_;
};

void read_columns(const Asking& asking, const std::string& source, TableMetadata& metadata) {
  const NamedRows columns(asking, "describe table " + source);
  for (const Row& row : columns.rows()) {
    const std::string name = columns.text(row, "name");
    if (columns.text(row, "primary key") == "Y") metadata.primary_key.push_back(name);
    if (const std::string comment = columns.text(row, "comment"); !comment.empty()) metadata.column_comments[name] = comment;
  }
  if (metadata.primary_key.size() < 2) return;
  // The order of a key is only here.
  const NamedRows keys(asking, "show primary keys in table " + source);
  std::map<int, std::string> ordered;
  for (const Row& row : keys.rows()) ordered[std::atoi(keys.text(row, "key_sequence").c_str())] = keys.text(row, "column_name");
  if (ordered.size() != metadata.primary_key.size()) return;
  metadata.primary_key.clear();
  for (const auto& [place, name] : ordered) metadata.primary_key.push_back(name);
}

void read_comment(const Asking& asking, const std::string& source, TableMetadata& metadata) {
  const NamedRows tables(asking, tables_query("COMMENT", source));
  if (tables.rows().size() == 1) metadata.comment = tables.text(tables.rows()[0], "comment");
}

}  // namespace

std::string tables_query(const std::string& columns, const std::string& source) {
  const std::vector<std::string> parts = parse_name(source, Fold::upper);
  const std::string database = parts.size() == 3 ? quote_identifier(parts[0]) + "." : "";
  const std::string schema = parts.size() >= 2 ? quote_literal(parts[parts.size() - 2]) : "current_schema()";
  return fmt::format("select {} from {}INFORMATION_SCHEMA.TABLES where TABLE_SCHEMA = {} and TABLE_NAME = {}", columns, database,
                     schema, quote_literal(parts.back()));
}

TableMetadata read_table_metadata(const std::shared_ptr<SourceSession>& session, const std::string& source,
                                  const std::stop_token& stop) noexcept {
  TableMetadata metadata;
  for (const auto read : {&read_columns, &read_comment}) {
    if (stop.stop_requested()) return metadata;
    try {
      read({session, stop}, source, metadata);
    } catch (const std::exception& error) {
      const auto* known = dynamic_cast<const Error*>(&error);
      log(LogLevel::info, "{}: keys or comments are not known: {}", source, known != nullptr ? known->message() : error.what());
    }
  }
  return metadata;
}

}  // namespace snowmelt
