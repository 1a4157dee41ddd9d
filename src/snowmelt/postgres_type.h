// Type names of PostgreSQL as users write them, before they become part of a statement.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace snowmelt {

// The type's text, built anew from its parsed parts: "numeric(10,2)", "public.mood[]", "time(3) with time zone". Null for all
// that is no name of a type: [schema.]name with "quoted" parts allowed, the built-in names of several words, (1 or 2 numbers or
// plain words),
// [] behind it. So nothing that stands behind a type in CREATE TABLE gets there: no CHECK, DEFAULT, COLLATE, no second statement.
std::optional<std::string> canonical_postgres_type(std::string_view text);

// For the hint beside a refusal.
inline constexpr std::string_view kPostgresTypeForms =
    "write the name of a type: \"numeric(10,2)\", \"timestamp(3) with time zone\", \"text[]\", \"my_schema.mood\"";

}  // namespace snowmelt
