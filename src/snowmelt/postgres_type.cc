#include "snowmelt/postgres_type.h"

#include <algorithm>
#include <array>
#include <initializer_list>
#include <utility>
#include <vector>

namespace snowmelt {
namespace {

struct Token {
  enum class Kind { word, quoted, number, mark, end };
  Kind kind = Kind::end;
  std::string text;  // a word in lower case, a quoted name with its quotes

  bool is(std::string_view mark_or_word) const { return (kind == Kind::word || kind == Kind::mark) && text == mark_or_word; }
};

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_letter(char c) {
  return c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || static_cast<unsigned char>(c) >= 0x80;
}
char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c; }

// Null for a character that no type name has. The last token is the end.
std::optional<std::vector<Token>> tokens_of(std::string_view text) {
  constexpr std::string_view kMarks = "().,[]-";
  std::vector<Token> tokens;
  size_t at = 0;
  while (at < text.size()) {
    const char c = text[at];
    Token token;
    if (c == ' ' || c == '\t') {
      ++at;
      continue;
    }
    if (is_letter(c)) {
      token.kind = Token::Kind::word;
      while (at < text.size() && (is_letter(text[at]) || is_digit(text[at]) || text[at] == '$')) token.text += lower(text[at++]);
    } else if (is_digit(c)) {
      constexpr size_t kDigitsMax = 9;
      token.kind = Token::Kind::number;
      while (at < text.size() && is_digit(text[at])) token.text += text[at++];
      if (token.text.size() > kDigitsMax || (at < text.size() && is_letter(text[at]))) return std::nullopt;
    } else if (c == '"') {
      token.kind = Token::Kind::quoted;
      token.text += text[at++];
      for (;; ++at) {
        if (at == text.size() || text[at] == '\0') return std::nullopt;
        token.text += text[at];
        if (text[at] != '"') continue;
        if (at + 1 == text.size() || text[at + 1] != '"') break;
        token.text += text[++at];
      }
      ++at;
      if (token.text.size() == 2) return std::nullopt;
    } else if (kMarks.find(c) != std::string_view::npos) {
      token.kind = Token::Kind::mark;
      token.text = std::string(1, c);
      ++at;
    } else {
      return std::nullopt;
    }
    tokens.push_back(std::move(token));
  }
  tokens.emplace_back();
  return tokens;
}

// Reserved words of PostgreSQL (appendix C of its manual): none of them names a type.
constexpr std::array<std::string_view, 77> kReserved{"all",          "analyse",
                                                     "analyze",      "and",
                                                     "any",          "array",
                                                     "as",           "asc",
                                                     "asymmetric",   "both",
                                                     "case",         "cast",
                                                     "check",        "collate",
                                                     "column",       "constraint",
                                                     "create",       "current_catalog",
                                                     "current_date", "current_role",
                                                     "current_time", "current_timestamp",
                                                     "current_user", "default",
                                                     "deferrable",   "desc",
                                                     "distinct",     "do",
                                                     "else",         "end",
                                                     "except",       "false",
                                                     "fetch",        "for",
                                                     "foreign",      "from",
                                                     "grant",        "group",
                                                     "having",       "in",
                                                     "initially",    "intersect",
                                                     "into",         "lateral",
                                                     "leading",      "limit",
                                                     "localtime",    "localtimestamp",
                                                     "not",          "null",
                                                     "offset",       "on",
                                                     "only",         "or",
                                                     "order",        "placing",
                                                     "primary",      "references",
                                                     "returning",    "select",
                                                     "session_user", "some",
                                                     "symmetric",    "system_user",
                                                     "table",        "then",
                                                     "to",           "trailing",
                                                     "true",         "union",
                                                     "unique",       "user",
                                                     "using",        "variadic",
                                                     "when",         "where",
                                                     "with"};

constexpr std::array<std::string_view, 6> kIntervalFields{"year", "month", "day", "hour", "minute", "second"};

class TypeParser {
 public:
  explicit TypeParser(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

  std::optional<std::string> operator()() {
    if (!type()) return std::nullopt;
    if (take("[")) {
      if (!take("]")) return std::nullopt;
      text_ += "[]";
    }
    return next().kind == Token::Kind::end ? std::optional(text_) : std::nullopt;
  }

 private:
  const Token& next(size_t ahead = 0) const { return tokens_[std::min(at_ + ahead, tokens_.size() - 1)]; }
  bool take(std::string_view text) {
    if (!next().is(text)) return false;
    ++at_;
    return true;
  }
  bool follow(std::initializer_list<std::string_view> words) {
    for (size_t i = 0; i < words.size(); ++i) {
      if (!next(i).is(std::data(words)[i])) return false;
    }
    at_ += words.size();
    return true;
  }

  bool type() {
    // With a schema before it, or quoted, each of these is a plain name.
    if (follow({"double", "precision"})) return add("double precision");
    if (follow({"character", "varying"}) || follow({"char", "varying"})) return add("character varying") && modifiers(1);
    if (follow({"bit", "varying"})) return add("bit varying") && modifiers(1);
    const bool built_in = !next(1).is(".");
    if (built_in && take("time")) return add("time") && modifiers(1) && zone();
    if (built_in && take("timestamp")) return add("timestamp") && modifiers(1) && zone();
    if (built_in && take("interval")) return add("interval") && interval();
    return name() && modifiers(2);
  }

  bool add(std::string_view text) {
    text_ += text;
    return true;
  }

  bool zone() {
    if (follow({"with", "time", "zone"})) return add(" with time zone");
    if (follow({"without", "time", "zone"})) return add(" without time zone");
    return true;
  }

  bool interval() {
    if (next().is("(")) return modifiers(1);
    const auto first = field();
    if (!first) return true;
    size_t last = *first;
    text_.append(" ").append(kIntervalFields[last]);
    if (take("to")) {
      const auto until = field();
      constexpr size_t kMonth = 1;
      // Years go with months, days with what is below them.
      if (!until || *until <= *first || (*first < kMonth + 1) != (*until < kMonth + 1)) return false;
      last = *until;
      text_.append(" to ").append(kIntervalFields[last]);
    }
    return last + 1 != kIntervalFields.size() || modifiers(1);
  }

  std::optional<size_t> field() {
    for (size_t i = 0; i < kIntervalFields.size(); ++i) {
      if (take(kIntervalFields[i])) return i;
    }
    return std::nullopt;
  }

  bool name() {
    if (!name_part()) return false;
    if (!take(".")) return true;
    text_ += '.';
    return name_part();
  }

  bool name_part() {
    const Token& token = next();
    if (token.kind != Token::Kind::quoted && token.kind != Token::Kind::word) return false;
    if (token.kind == Token::Kind::word && std::find(kReserved.begin(), kReserved.end(), token.text) != kReserved.end())
      return false;
    text_ += token.text;
    ++at_;
    return true;
  }

  // (10,2), (Point,4326), or nothing.
  bool modifiers(size_t most) {
    if (!take("(")) return true;
    text_ += '(';
    for (size_t count = 1;; ++count) {
      if (take("-")) {
        if (next().kind != Token::Kind::number) return false;
        text_ += '-';
      }
      if (next().kind != Token::Kind::number && next().kind != Token::Kind::word) return false;
      text_ += next().text;
      ++at_;
      if (take(")")) break;
      if (count == most || !take(",")) return false;
      text_ += ',';
    }
    text_ += ')';
    return true;
  }

  std::vector<Token> tokens_;
  size_t at_ = 0;
  std::string text_;
};

}  // namespace

std::optional<std::string> canonical_postgres_type(std::string_view text) {
  auto tokens = tokens_of(text);
  return tokens ? TypeParser(std::move(*tokens))() : std::nullopt;
}

}  // namespace snowmelt
