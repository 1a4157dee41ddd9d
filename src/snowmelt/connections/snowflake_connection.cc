#include "snowmelt/connections/snowflake_connection.h"

#include <unistd.h>

#include <charconv>
#include <utility>

#include "snowmelt/connections/snowflake_auth.h"
#include "snowmelt/connections/snowflake_settings.h"
#include "snowmelt/error.h"

namespace snowmelt {
namespace {

std::mutex reader_mutex;
ResultRowReader row_reader;

ResultRowReader installed_row_reader() {
  const std::scoped_lock lock(reader_mutex);
  return row_reader;
}

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

bool somebody_is_there() { return ::isatty(STDIN_FILENO) == 1 || ::isatty(STDERR_FILENO) == 1; }

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
    for (const SnowflakeColumn& column : result_->row_type) {
      description_.push_back({column.name, column.type, column.precision, column.scale, column.length, column.nullable});
    }
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
    const ResultRowReader reader = installed_row_reader();
    if (!reader) {
      throw BugError("cursor.no_row_reader", "no reader for this result's rows is installed (set_result_row_reader)",
                     {.query_id = result_->query_id});
    }
    return reader(*connection_, *result_);
  }

  std::shared_ptr<SnowflakeConnection> connection_;
  std::optional<StatementResult> result_;
  std::vector<ColumnDescription> description_;
  size_t row_ = 0;
  std::unique_ptr<RowSource> source_;
  std::stop_token stop_;
};

}  // namespace

void set_result_row_reader(ResultRowReader reader) {
  const std::scoped_lock lock(reader_mutex);
  row_reader = std::move(reader);
}

int64_t StatementResult::inline_rows() const {
  int64_t in_chunks = 0;
  for (const ResultChunk& chunk : chunks) in_chunks += chunk.rows;
  return total - in_chunks;
}

SnowflakeConnection::SnowflakeConnection(std::shared_ptr<SnowflakeDriver> driver, SnowflakeDriver::Session session,
                                         SnowflakeConfig config)
    : driver_(std::move(driver)), session_(std::move(session)), config_(std::move(config)) {}

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

void SnowflakeConnection::ping() {
  guarded([&] { driver_->ping(session_.handle); });
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

void SnowflakeConnectionManager::set_stop_token(std::stop_token stop) {
  const std::scoped_lock lock(logins_mutex_);
  stop_ = std::move(stop);
}

void SnowflakeConnectionManager::set_ask_person(AskPerson who) {
  const std::scoped_lock lock(logins_mutex_);
  ask_person_ = who;
}

std::shared_ptr<Connection> SnowflakeConnectionManager::open() {
  check_auth(config_);
  check_settings(config_);
  LoginOptions options;
  {
    const std::scoped_lock lock(logins_mutex_);
    options.stop = stop_;
    options.ask_person = ask_person_ == AskPerson::always ||
                         (ask_person_ == AskPerson::first_login && (logins_by_kind_.empty() || somebody_is_there()));
  }
  const SnowflakeDriver::Session session = driver_->open(config_, options);
  {
    const std::scoped_lock lock(logins_mutex_);
    ++logins_by_kind_[session.login_kind];
  }
  return std::make_shared<SnowflakeConnection>(driver_, session, config_);
}

bool SnowflakeConnectionManager::ping(Connection& connection) {
  static_cast<SnowflakeConnection&>(connection).ping();
  return true;
}

void SnowflakeConnectionManager::before_reconnect(Connection& lost) { static_cast<SnowflakeConnection&>(lost).give_up(); }

void SnowflakeConnectionManager::dispose(Connection& connection) noexcept {
  static_cast<SnowflakeConnection&>(connection).close();
}

}  // namespace snowmelt
