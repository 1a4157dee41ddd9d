#include "snowmelt/connections/snowflake_connection.h"

#include <fmt/format.h>

#include <charconv>
#include <utility>

#include "snowmelt/connections/login_lock.h"
#include "snowmelt/connections/person.h"
#include "snowmelt/connections/snowflake_auth.h"
#include "snowmelt/connections/snowflake_settings.h"
#include "snowmelt/error.h"

namespace snowmelt {
namespace {

// 0x3000 to 0x3fff are INSERT, UPDATE, DELETE and MERGE: one row, a count in each column.
bool changes_rows(const StatementResult& result) { return (result.statement_type_id & 0xF000) == 0x3000; }

int64_t rows_changed(const StatementResult& result) {
  int64_t sum = 0;
  if (result.rows.empty()) return -1;
  for (const Value& value : result.rows.front()) {
    int64_t count = 0;
    if (value) std::from_chars(value->data(), value->data() + value->size(), count);
    sum += count;
  }
  return sum;
}

// "person_needed" says what was missing: most often the machine, not the person, is in the wrong state.
[[noreturn]] void throw_nobody_here(const AuthenticationError& error, const SnowflakeConfig& config, const std::string& missing) {
  ErrorFacts facts = error.facts();
  facts.hint =
      fmt::format("run snowmelt login at a terminal{}, or use authenticator = \"snowflake_jwt\" or \"programmatic_access_token\"",
                  shares_login(config) ? " first: the login is then kept for this command" : "");
  throw AuthenticationError(error.code(), error.message() + ", and nobody can be asked here: " + missing, facts);
}

class SnowflakeCursor : public Cursor {
 public:
  explicit SnowflakeCursor(std::shared_ptr<SnowflakeConnection> connection) : connection_(std::move(connection)) {}

  void execute(std::string_view sql, const std::vector<Value>& parameters) override {
    require_open();
    source_.reset();
    result_.reset();
    description_.clear();
    row_ = 0;
    result_ = connection_->execute({.sql = std::string(sql), .parameters = parameters, .query_tag = {}, .stop = stop_});
    description_ = descriptions_of(result_->row_type);
  }

  const std::vector<ColumnDescription>& description() const override { return description_; }

  int64_t rowcount() const override {
    if (!result_) return -1;
    return changes_rows(*result_) && !result_->arrow ? rows_changed(*result_) : result_->total;
  }

  std::optional<Row> fetchone() override {
    require_open();
    if (!result_) throw UsageError("cursor.no_result", "fetching needs an executed statement");
    if (!result_->arrow && result_->chunks.empty()) {
      if (row_ == result_->rows.size()) return std::nullopt;
      return result_->rows[row_++];
    }
    if (!source_) source_ = open_source();
    return source_->next();
  }

  void close() override {
    source_.reset();
    result_.reset();
    connection_.reset();
  }

  const StatementResult* result() const override { return result_ ? &*result_ : nullptr; }
  void set_stop_token(std::stop_token stop) override { stop_ = std::move(stop); }

 private:
  void require_open() const {
    if (!connection_) throw UsageError("cursor.closed", "the cursor is closed");
  }

  std::unique_ptr<RowSource> open_source() {
    const ResultRowReader& reader = connection_->row_reader();
    if (!reader) {
      throw BugError("cursor.no_row_reader", "the connection manager was given no reader for rows of this kind",
                     {.query_id = result_->query_id});
    }
    return reader(connection_, *result_, stop_);
  }

  std::shared_ptr<SnowflakeConnection> connection_;
  std::optional<StatementResult> result_;
  std::vector<ColumnDescription> description_;
  size_t row_ = 0;
  std::unique_ptr<RowSource> source_;
  std::stop_token stop_;
};

}  // namespace

std::vector<ColumnDescription> descriptions_of(const std::vector<SnowflakeColumn>& row_type) {
  std::vector<ColumnDescription> descriptions;
  for (const SnowflakeColumn& column : row_type) {
    descriptions.push_back({column.name, column.type, column.precision, column.scale, column.length, column.nullable});
  }
  return descriptions;
}

int64_t StatementResult::inline_rows() const {
  int64_t in_chunks = 0;
  for (const ResultChunk& chunk : chunks) in_chunks += chunk.rows;
  return total - in_chunks;
}

SnowflakeConnection::SnowflakeConnection(std::shared_ptr<SnowflakeDriver> driver, SnowflakeDriver::Session session,
                                         SnowflakeConfig config, ResultRowReader row_reader)
    : driver_(std::move(driver)), session_(std::move(session)), config_(std::move(config)), row_reader_(std::move(row_reader)) {}

SnowflakeConnection::~SnowflakeConnection() { close(); }

void SnowflakeConnection::require_open() const {
  if (lost_) throw ConnectionError("snowflake.connection_lost", "the session was lost", {.connection_lost = true});
  if (closed_) throw UsageError("connection.closed", "the Snowflake connection is closed");
}

template <typename Call>
auto SnowflakeConnection::guarded(Call&& call) {
  require_open();
  try {
    return call();
  } catch (const Error& error) {
    if (error.connection_lost()) open_ = false;
    throw;
  }
}

std::unique_ptr<Cursor> SnowflakeConnection::cursor() {
  require_open();
  return std::make_unique<SnowflakeCursor>(shared_from_this());
}

StatementResult SnowflakeConnection::execute(const Statement& statement) {
  return guarded([&] { return driver_->execute(session_.handle, statement); });
}

StatementResult SnowflakeConnection::result(const std::string& query_id, std::stop_token stop) {
  return guarded([&] { return driver_->result(session_.handle, query_id, std::move(stop)); });
}

void SnowflakeConnection::ping(std::stop_token stop) {
  guarded([&] { driver_->ping(session_.handle, std::move(stop)); });
}

void SnowflakeConnection::close() noexcept {
  if (closed_.exchange(true)) return;
  open_ = false;
  driver_->close(session_.handle);
}

SnowflakeConnectionManager::SnowflakeConnectionManager() : SnowflakeConnectionManager(load_config().snowflake) {}

SnowflakeConnectionManager::SnowflakeConnectionManager(SnowflakeConfig config, std::shared_ptr<SnowflakeDriver> driver)
    : config_(std::move(config)), driver_(std::move(driver)) {}

SnowflakeConnectionManager::~SnowflakeConnectionManager() { close(); }

std::shared_ptr<SnowflakeConnection> SnowflakeConnectionManager::get_snowflake_connection() {
  return std::static_pointer_cast<SnowflakeConnection>(get_connection());
}

std::map<std::string, int64_t> SnowflakeConnectionManager::logins_by_kind() const {
  const std::scoped_lock lock(logins_mutex_);
  return logins_by_kind_;
}

void SnowflakeConnectionManager::set_ask_person(AskPerson who) {
  const std::scoped_lock lock(logins_mutex_);
  ask_person_ = who;
}

void SnowflakeConnectionManager::set_row_reader(ResultRowReader reader) {
  const std::scoped_lock lock(logins_mutex_);
  row_reader_ = std::move(reader);
}

std::shared_ptr<Connection> SnowflakeConnectionManager::open() {
  check_auth(config_);
  check_settings(config_);
  LoginOptions options{.stop = stop_token()};
  AskPerson who = AskPerson::never;
  ResultRowReader row_reader;
  std::string missing;
  {
    const std::scoped_lock lock(logins_mutex_);
    who = ask_person_;
    missing = missing_of_a_person(logins_by_kind_.empty() ? LoginTime::first : LoginTime::later);
    row_reader = row_reader_;
  }
  options.ask_person = who == AskPerson::always || (who == AskPerson::if_present && missing.empty());
  SnowflakeDriver::Session session;
  try {
    session = driver_->open(config_, options);
  } catch (const AuthenticationError& error) {
    if (error.code() != "snowflake.person_needed" || who == AskPerson::never) throw;
    throw_nobody_here(error, config_, missing);
  }
  {
    const std::scoped_lock lock(logins_mutex_);
    ++logins_by_kind_[session.login_kind];
  }
  return std::make_shared<SnowflakeConnection>(driver_, session, config_, std::move(row_reader));
}

bool SnowflakeConnectionManager::ping(Connection& connection) {
  static_cast<SnowflakeConnection&>(connection).ping(stop_token());
  return true;
}

void SnowflakeConnectionManager::before_reconnect(Connection& lost) { static_cast<SnowflakeConnection&>(lost).give_up(); }

void SnowflakeConnectionManager::dispose(Connection& connection) noexcept {
  static_cast<SnowflakeConnection&>(connection).close();
}

}  // namespace snowmelt
