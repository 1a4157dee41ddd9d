// Every failure snowmelt reports. Few kinds, one per reaction of the caller; the facts sit on the one base class.
#pragma once

#include <cstdint>
#include <exception>
#include <string>
#include <string_view>

namespace snowmelt {

// The value is the process's exit code (docs/errors.md); a scheduler can act on it without parsing text.
enum class ErrorKind : int {
  usage = 1,
  configuration = 2,
  authentication = 3,
  connection = 4,  // lost, or never reached
  query = 5,       // Snowflake refused the statement
  file = 6,
  value = 7,            // a value or type that cannot be kept
  postgres = 8,         // PostgreSQL refused
  commit_in_doubt = 9,  // the link broke during COMMIT: neither success nor failure is known
  bug = 10,
  verification = 11,  // counts or digests differ
  locked = 12,        // another run holds the lock
  interrupted = 130,  // SIGINT; the command line answers 143 for SIGTERM
};

// What is known besides the message. Empty or zero means "not known".
struct ErrorFacts {
  std::string where{};           // table, column, row, file: the place a person has to look at
  std::string hint{};            // the remedy, naming the key or flag to change
  std::string sqlstate{};        // five characters, from either server
  std::string query_id{};        // Snowflake's id of the failed statement
  int vendor_code = 0;           // Snowflake's number, 390114 for one
  bool connection_lost = false;  // the connection cannot be used any more
  bool nothing_sent = false;     // nothing left this machine: trying again is safe
};

class Error : public std::exception {
 public:
  // `code` is the stable word to search for ("copy.integer_out_of_range"); `message` one sentence of what happened.
  Error(ErrorKind kind, std::string code, std::string message, ErrorFacts facts = {});

  ErrorKind kind() const noexcept { return kind_; }
  int exit_code() const noexcept { return static_cast<int>(kind_); }
  const std::string& code() const noexcept { return code_; }
  const std::string& message() const noexcept { return message_; }
  const ErrorFacts& facts() const noexcept { return facts_; }
  const std::string& where() const noexcept { return facts_.where; }
  const std::string& hint() const noexcept { return facts_.hint; }
  const std::string& sqlstate() const noexcept { return facts_.sqlstate; }
  const std::string& query_id() const noexcept { return facts_.query_id; }
  int vendor_code() const noexcept { return facts_.vendor_code; }
  bool connection_lost() const noexcept { return facts_.connection_lost; }
  bool nothing_sent() const noexcept { return facts_.nothing_sent; }

  // The text a person reads: "<code>\n  <where>: <message>\n  hint: <hint>" without the absent parts.
  const char* what() const noexcept override { return text_.c_str(); }

  // Adds context at a boundary (column, file, table, step). The first cause stays; the place is put before what is there.
  void add_where(std::string_view place);
  // Adds what else is wrong of the same kind, so that one run names it all: "<message>; likewise <where>; <where>: <message>".
  void add_offender(const Error& other);

 private:
  void render();

  ErrorKind kind_;
  std::string code_;
  std::string message_;
  ErrorFacts facts_;
  std::string first_message_;  // without what add_offender() put behind it
  std::string text_;
};

// One class a kind, so that a caller can catch what it can react to.
template <ErrorKind K>
class ErrorOf : public Error {
 public:
  ErrorOf(std::string code, std::string message, ErrorFacts facts = {})
      : Error(K, std::move(code), std::move(message), std::move(facts)) {}
};

using UsageError = ErrorOf<ErrorKind::usage>;
using ConfigurationError = ErrorOf<ErrorKind::configuration>;
using AuthenticationError = ErrorOf<ErrorKind::authentication>;
using ConnectionError = ErrorOf<ErrorKind::connection>;
using QueryError = ErrorOf<ErrorKind::query>;
using FileError = ErrorOf<ErrorKind::file>;
using ValueError = ErrorOf<ErrorKind::value>;
using PostgresError = ErrorOf<ErrorKind::postgres>;
using CommitInDoubt = ErrorOf<ErrorKind::commit_in_doubt>;
using BugError = ErrorOf<ErrorKind::bug>;
using VerificationError = ErrorOf<ErrorKind::verification>;
using LockedError = ErrorOf<ErrorKind::locked>;
using Interrupted = ErrorOf<ErrorKind::interrupted>;

// Throws the class that belongs to `kind`: for code that learns the kind at run time (the bridge, SQLSTATEs).
[[noreturn]] void throw_error(ErrorKind kind, std::string code, std::string message, ErrorFacts facts = {});

// "snowflake", "postgres", "1 of 7 …" and the like name kinds in JSON reports: "configuration", "commit_in_doubt", …
std::string_view to_string(ErrorKind kind) noexcept;

}  // namespace snowmelt
