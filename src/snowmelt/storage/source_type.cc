#include "snowmelt/storage/source_type.h"

#include <fmt/format.h>

#include "snowmelt/error.h"

namespace snowmelt {
namespace {

std::string_view word_text(SourceWord word) { return kSourceWords[static_cast<size_t>(word)]; }

SourceType checked(const std::string& text) {
  const auto type = SourceType::parse(text);
  if (!type) throw BugError("types.source_type", fmt::format("{} is no source type", text));
  return *type;
}

}  // namespace

SourceType SourceType::of(SourceWord word) { return checked(std::string(word_text(word))); }

SourceType SourceType::number(int precision, int scale) { return checked(fmt::format("NUMBER({},{})", precision, scale)); }

SourceType SourceType::with_digits(SourceWord word, int digits) {
  return checked(fmt::format("{}({})", word_text(word), digits));
}

SourceType SourceType::vector(bool integers, int dimension) {
  return checked(fmt::format("VECTOR({},{})", integers ? "INT" : "FLOAT", dimension));
}

std::string SourceType::text() const {
  const std::string_view word = word_text(word_);
  switch (word_) {
    case SourceWord::number: return fmt::format("{}({},{})", word, first_, second_);
    case SourceWord::time:
    case SourceWord::timestamp_ntz:
    case SourceWord::timestamp_ltz:
    case SourceWord::timestamp_tz: return fmt::format("{}({})", word, first_);
    case SourceWord::vector:
      if (element_ == Element::none) return std::string(word);
      return fmt::format("{}({},{})", word, element_ == Element::integer ? "INT" : "FLOAT", first_);
    default: return std::string(word);
  }
}

std::string unknown_source_type(std::string_view column, std::string_view text) {
  constexpr size_t kShown = 60;
  return fmt::format("column {} has the source type \"{}{}\", which snowmelt does not write", column, text.substr(0, kShown),
                     text.size() > kShown ? "…" : "");
}

}  // namespace snowmelt
