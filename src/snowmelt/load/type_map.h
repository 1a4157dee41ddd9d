// (Arrow type, PostgreSQL type) → encoder, and the type a new table gets for an Arrow type. One table decides both.
#pragma once

#include <arrow/api.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "snowmelt/config.h"
#include "snowmelt/load/copy_encoder.h"
#include "snowmelt/storage/manifest.h"

namespace snowmelt {

// A column of an existing table, as the server describes it.
struct TargetColumn {
  std::string name;
  std::string type;          // as declared, format_type(): "numeric(12,2)", "my_domain"
  uint32_t type_oid = 0;     // a domain's base type
  int32_t typmod = -1;       // of the column, or of its domain
  char kind = 'b';           // pg_type.typtype of the base type: b, e (enum), c, r, …
  uint32_t element_oid = 0;  // of an array
  std::string base_name;     // the base type's own name in pg_type ("jsonb", "vector", "geometry")
  bool not_null = false;
  bool has_default = false;
  bool generated = false;  // GENERATED ALWAYS AS (…) STORED: COPY may not name it
};

// A column of a table that the loader makes.
struct NewColumn {
  std::string name;
  std::string type;  // as people read it: "text", "numeric(12,2)"
  bool not_null = false;
  std::string source;   // the field's own name
  bool chosen = false;  // the type is the user's own: types = { … }

  // The type for CREATE TABLE. A name of ours that is no keyword is qualified: search_path may find another "text" first. The
  // user's own names are found as the user's own statements find them.
  std::string ddl() const;
};

// How a database calls the types of extensions, schema included where search_path needs it; empty where it has none.
struct ExtensionTypes {
  std::string vector;     // pgvector
  std::string geometry;   // PostGIS
  std::string geography;  // PostGIS
};

// The columns of a new table for a file's schema. `source` is one to one with the schema's fields, or empty for a file of
// another writer. Throws ValueError naming every column that has no type in PostgreSQL, and every name that cannot be used:
// longer than 63 bytes, equal after folding, a system column, more than 1,600 columns; or more fixed-width NOT NULL columns than
// a page has room for. `types`: the user's own, by name in PostgreSQL; ConfigurationError for what is no type (postgres_type.h).
// All problems are in one message, with the line of rename = { … } that mends the names.
std::vector<NewColumn> plan_new_table(const arrow::Schema& schema, const std::vector<SourceColumn>& source, IntegerMode integers,
                                      const std::map<std::string, std::string>& types = {},
                                      const ExtensionTypes& extensions = {});

// Every PostgreSQL type that something can be loaded into, as sample columns called c: for docs/types.md.
std::vector<TargetColumn> known_targets();

// The name a column of the file has in PostgreSQL.
std::string target_column_name(const std::string& field_name);

// How each field of the file is encoded for the column of the same name. In the order of the file's fields.
// Throws one ValueError naming every problem: a column that the table lacks, a type that cannot hold the field's type,
// a NOT NULL column without default that the file lacks.
std::vector<EncoderColumn> map_columns(const arrow::Schema& schema, const std::vector<SourceColumn>& source,
                                       const std::vector<TargetColumn>& target, const std::string& table);

}  // namespace snowmelt
