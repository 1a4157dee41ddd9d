#include "snowmelt/error.h"

#include <utility>

#include "snowmelt/printable.h"

namespace snowmelt {

Error::Error(ErrorKind kind, std::string code, std::string message, ErrorFacts facts)
    : kind_(kind), code_(std::move(code)), message_(std::move(message)), facts_(std::move(facts)) {
  render();
}

void Error::add_where(std::string_view place) {
  facts_.where = facts_.where.empty() ? std::string(place) : std::string(place) + ", " + facts_.where;
  render();
}

void Error::add_offender(const Error& other) {
  if (first_message_.empty()) first_message_ = message_;
  message_ += other.message_ == first_message_ ? "; likewise " + other.where() : "; " + other.where() + ": " + other.message_;
  if (!other.hint().empty() && facts_.hint.find(other.hint()) == std::string::npos)
    facts_.hint += (facts_.hint.empty() ? "" : "; ") + other.hint();
  render();
}

void Error::render() {
  constexpr std::string_view kContinued = "  | ";  // no line of a server's text passes for ours
  text_ = code_ + "\n  ";
  if (!facts_.where.empty()) text_ += printable(facts_.where, kContinued) + ": ";
  text_ += printable(message_, kContinued);
  if (!facts_.query_id.empty()) text_ += " (query id " + printable(facts_.query_id, kContinued) + ")";
  if (!facts_.hint.empty()) text_ += "\n  hint: " + printable(facts_.hint, kContinued);
}

void throw_error(ErrorKind kind, std::string code, std::string message, ErrorFacts facts) {
  switch (kind) {
#define SNOWMELT_THROW(k) \
  case ErrorKind::k: throw ErrorOf<ErrorKind::k>(std::move(code), std::move(message), std::move(facts))
    SNOWMELT_THROW(usage);
    SNOWMELT_THROW(configuration);
    SNOWMELT_THROW(authentication);
    SNOWMELT_THROW(connection);
    SNOWMELT_THROW(query);
    SNOWMELT_THROW(file);
    SNOWMELT_THROW(value);
    SNOWMELT_THROW(postgres);
    SNOWMELT_THROW(commit_in_doubt);
    SNOWMELT_THROW(bug);
    SNOWMELT_THROW(verification);
    SNOWMELT_THROW(locked);
    SNOWMELT_THROW(interrupted);
#undef SNOWMELT_THROW
  }
  throw BugError("error.unknown_kind", std::move(message), std::move(facts));
}

std::string_view to_string(ErrorKind kind) noexcept {
  switch (kind) {
    case ErrorKind::usage: return "usage";
    case ErrorKind::configuration: return "configuration";
    case ErrorKind::authentication: return "authentication";
    case ErrorKind::connection: return "connection";
    case ErrorKind::query: return "query";
    case ErrorKind::file: return "file";
    case ErrorKind::value: return "value";
    case ErrorKind::postgres: return "postgres";
    case ErrorKind::commit_in_doubt: return "commit_in_doubt";
    case ErrorKind::bug: return "bug";
    case ErrorKind::verification: return "verification";
    case ErrorKind::locked: return "locked";
    case ErrorKind::interrupted: return "interrupted";
  }
  return "bug";
}

}  // namespace snowmelt
