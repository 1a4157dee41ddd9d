#include "snowmelt/connections/postgres_connection.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <charconv>
#include <cstring>
#include <map>
#include <set>
#include <utility>

#include "snowmelt/connections/handles.h"
#include "snowmelt/connections/postgres_cancel.h"
#include "snowmelt/connections/postgres_errors.h"
#include "snowmelt/connections/postgres_open.h"
#include "snowmelt/error.h"
#include "snowmelt/log.h"
#include "snowmelt/names.h"

namespace snowmelt {
namespace {

// The server reads its socket in 8 KiB pieces and holds one message whole before it parses it: 64 KiB keeps that message in
// its cache, while a message header costs nothing.
constexpr size_t kCopyMessageBytes = 64 * 1024;

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

// What a stop request waits for at most: a server that is alive ends a cancelled statement within some ms.
constexpr milliseconds kStopPatience{1'000};
constexpr milliseconds kUndoPatience{5'000};  // a rollback; closing the connection does the same
constexpr milliseconds kPingPatience{10'000};
constexpr milliseconds kTick{50};               // how late a stop request is seen
constexpr milliseconds kSilenceUntold{10'000};  // a display tells of longer ones
constexpr const char* kSilenceNote = "waiting for PostgreSQL to answer";

// Command tags of statements that leave nothing to commit. A SELECT may call what writes, which nobody can see from here.
constexpr std::array<std::string_view, 15> kReadingTags{"SELECT", "SHOW",   "SET",      "RESET",     "BEGIN",
                                                        "START",  "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE",
                                                        "LOCK",   "FETCH",  "DECLARE",  "CLOSE",     "EXPLAIN"};

constexpr std::array<std::string_view, 4> kWritingWords{"insert", "update", "delete", "merge"};

bool leaves_work(std::string_view tag, std::string_view sql) {
  const std::string_view word = tag.substr(0, tag.find(' '));
  if (word.empty()) return false;
  if (std::find(kReadingTags.begin(), kReadingTags.end(), word) == kReadingTags.end()) return true;
  if (word != "SELECT") return false;
  // A WITH may write too, and its tag is SELECT all the same.
  const std::string text = lower_case(std::string(sql));
  return text.find("with") != std::string::npos &&
         std::any_of(kWritingWords.begin(), kWritingWords.end(),
                     [&](std::string_view writing) { return text.find(writing) != std::string::npos; });
}

std::string trimmed(std::string text) {
  for (char& c : text) {
    if (c == '\n' || c == '\t') c = ' ';
  }
  while (!text.empty() && text.back() == ' ') text.pop_back();
  return text;
}

std::string field(const PGresult* result, int code) {
  const char* text = PQresultErrorField(result, code);
  return text == nullptr ? std::string() : std::string(text);
}

PostgresFailure failure_of(const PGresult* result, PGconn* connection) {
  PostgresFailure failure;
  if (result != nullptr) {
    failure.sqlstate = field(result, PG_DIAG_SQLSTATE);
    failure.severity = field(result, PG_DIAG_SEVERITY_NONLOCALIZED);
    failure.message = trimmed(field(result, PG_DIAG_MESSAGE_PRIMARY));
    failure.detail = trimmed(field(result, PG_DIAG_MESSAGE_DETAIL));
    failure.hint = trimmed(field(result, PG_DIAG_MESSAGE_HINT));
    failure.context = trimmed(field(result, PG_DIAG_CONTEXT));
    failure.schema = field(result, PG_DIAG_SCHEMA_NAME);
    failure.table = field(result, PG_DIAG_TABLE_NAME);
  }
  if (failure.message.empty()) failure.message = trimmed(PQerrorMessage(connection));
  return failure;
}

// What the server says beside its answers. Its warnings are for people, each once: a trigger may say the same of every row.
class Notices {
 public:
  static void receive(void* self, const PGresult* result) noexcept try {
    static_cast<Notices*>(self)->take(result);
  } catch (...) {  // libpq is C
  }

 private:
  static constexpr size_t kTextsMax = 100;  // of a connection
  static constexpr size_t kTextBytesMax = 1'000;

  void take(const PGresult* result) {
    std::string text = trimmed(field(result, PG_DIAG_MESSAGE_PRIMARY));
    if (const std::string detail = trimmed(field(result, PG_DIAG_MESSAGE_DETAIL)); !detail.empty()) text += " (" + detail + ")";
    if (text.size() > kTextBytesMax) text = text.substr(0, kTextBytesMax) + "…";
    const bool warning = field(result, PG_DIAG_SEVERITY_NONLOCALIZED) == "WARNING";
    const bool shown = warning && seen_.size() < kTextsMax && seen_.insert(text).second;
    if (shown)
      log(LogLevel::warning, "PostgreSQL warns: {}", text);
    else
      log(LogLevel::debug, "PostgreSQL {}: {}", field(result, PG_DIAG_SEVERITY), text);
    if (shown && seen_.size() == kTextsMax) log(LogLevel::warning, "PostgreSQL has more to warn of; --verbose shows it");
  }

  std::set<std::string> seen_;
};

bool is_failure(const PGresult* result) {
  switch (PQresultStatus(result)) {
    case PGRES_EMPTY_QUERY:
    case PGRES_COMMAND_OK:
    case PGRES_TUPLES_OK:
    case PGRES_COPY_IN:
    case PGRES_COPY_OUT:
    case PGRES_SINGLE_TUPLE: return false;
    default: return true;
  }
}

int64_t affected_rows(PGresult* result) {
  const std::string_view text = PQcmdTuples(result);
  int64_t rows = -1;
  std::from_chars(text.data(), text.data() + text.size(), rows);
  return rows;
}

// The built-in types that our own statements return; any other type's name is asked of the server.
constexpr std::array<std::pair<Oid, std::string_view>, 20> kTypeNames{{
    {16, "boolean"},
    {17, "bytea"},
    {18, "\"char\""},
    {19, "name"},
    {20, "bigint"},
    {21, "smallint"},
    {23, "integer"},
    {25, "text"},
    {26, "oid"},
    {114, "json"},
    {700, "real"},
    {701, "double precision"},
    {1082, "date"},
    {1083, "time without time zone"},
    {1114, "timestamp without time zone"},
    {1184, "timestamp with time zone"},
    {1700, "numeric"},
    {2205, "regclass"},
    {2950, "uuid"},
    {3802, "jsonb"},
}};

class LibpqConnection;

class LibpqCopyStream final : public CopyStream {
 public:
  explicit LibpqCopyStream(std::shared_ptr<LibpqConnection> connection) : connection_(std::move(connection)) {}
  ~LibpqCopyStream() override;
  void write(std::span<const char> bytes) override;
  int64_t finish() override;
  void abandon() noexcept override;

 private:
  std::shared_ptr<LibpqConnection> connection_;
  bool ended_ = false;
};

class LibpqCursor final : public Cursor {
 public:
  explicit LibpqCursor(std::shared_ptr<LibpqConnection> connection) : connection_(std::move(connection)) {}
  void execute(std::string_view sql, const std::vector<Value>& parameters) override;
  const std::vector<ColumnDescription>& description() const override { return result_.columns; }
  int64_t rowcount() const override { return result_.affected; }
  std::optional<Row> fetchone() override;
  void close() override;
  void set_stop_token(std::stop_token stop) override { stop_ = std::move(stop); }

 private:
  std::shared_ptr<LibpqConnection> connection_;  // null once closed
  std::stop_token stop_;
  PostgresConnection::Result result_;
  size_t next_ = 0;
};

class LibpqConnection final : public PostgresConnection, public std::enable_shared_from_this<LibpqConnection> {
 public:
  LibpqConnection(PgConnectionHandle handle, bool autocommit)
      : handle_(std::move(handle)), cancel_key_(PQgetCancel(handle_.get()), PqFreeCancel()), autocommit_(autocommit) {
    PQsetNoticeReceiver(handle_.get(), Notices::receive, &notices_);
    // libpq never waits: wait_for() does, which a stop request and a limit of time end.
    if (PQsetnonblocking(handle_.get(), 1) != 0) throw_postgres_failure(failure_of(nullptr, handle_.get()));
  }
  ~LibpqConnection() override { close(); }

  std::unique_ptr<Cursor> cursor() override { return std::make_unique<LibpqCursor>(shared_from_this()); }
  bool is_open() const override {
    if (open_ && hung_up()) open_ = false;
    return open_;
  }
  bool autocommit() const override { return autocommit_; }
  bool in_transaction() const override { return in_transaction_; }
  bool has_uncommitted_work() const override { return open_ && in_transaction_ && wrote_; }
  int server_version() const override {
    std::lock_guard lock(mutex_);
    return handle_ ? PQserverVersion(handle_.get()) : 0;
  }

  ConnectionWaiter set_waiter(ConnectionWaiter waiter) override {
    std::lock_guard lock(mutex_);
    return std::exchange(waiter_, std::move(waiter));
  }

  Result execute(std::string_view sql, const std::vector<Value>& parameters) override {
    std::lock_guard lock(mutex_);
    open_transaction_if_needed();
    const PgResultHandle result = run(sql, parameters);
    if (PQresultStatus(result.get()) == PGRES_COPY_IN || PQresultStatus(result.get()) == PGRES_COPY_OUT) refuse_copy();
    return read_rows(result.get());
  }

  std::unique_ptr<CopyStream> copy_in(std::string_view copy_sql) override {
    std::lock_guard lock(mutex_);
    open_transaction_if_needed();
    refuse_stopped();
    const std::string sql(copy_sql);
    const PgResultHandle result = checked(exchange([&] { return PQsendQuery(handle_.get(), sql.c_str()); }), sql);
    if (PQresultStatus(result.get()) != PGRES_COPY_IN)
      throw BugError("postgres.not_a_copy", "the statement is not COPY … FROM STDIN");
    copying_ = true;
    wrote_ = true;
    return std::make_unique<LibpqCopyStream>(shared_from_this());
  }

  void begin() override {
    std::lock_guard lock(mutex_);
    require_usable();
    if (in_transaction_)
      throw UsageError("postgres.in_transaction", "a transaction is open already", {.hint = "commit or roll back first"});
    run("BEGIN", {});
  }

  // begin(), but false where the server has not answered by then; the connection is closed then.
  bool begin_by(Clock::time_point deadline) {
    std::lock_guard lock(mutex_);
    try {
      const Limit limit(*this, deadline);
      begin();
      return true;
    } catch (const Error&) {
      if (waiter_.stop.stop_requested() || Clock::now() < deadline) throw;
      close();
      return false;
    }
  }

  void commit() override {
    std::lock_guard lock(mutex_);
    if (!in_transaction_) return;
    require_usable();
    if (PQtransactionStatus(handle_.get()) == PQTRANS_INERROR) {
      rollback();
      throw PostgresError("postgres.transaction_failed", "an earlier statement of the transaction failed; nothing was committed",
                          {.hint = "roll back after a failed statement, then start again"});
    }
    try {
      run("COMMIT", {});
    } catch (const Error& error) {
      if (!error.connection_lost()) throw;
      in_transaction_ = false;  // whatever it became, it is over
      throw CommitInDoubt(
          "postgres.commit_in_doubt",
          "the link broke during COMMIT: whether the work was kept is not known (" + error.message() + ")",
          {.hint = "look at the target table before you try again", .sqlstate = error.sqlstate(), .connection_lost = true});
    }
  }

  void rollback() override {
    std::lock_guard lock(mutex_);
    if (!in_transaction_) return;
    if (open_) undo("ROLLBACK");
    if (!open_) in_transaction_ = false;  // the server rolls back when it loses us
  }

  void rollback_to(std::string_view savepoint) override {
    std::lock_guard lock(mutex_);
    undo("ROLLBACK TO SAVEPOINT " + quote_identifier(savepoint));
  }

  bool ping() override {
    std::lock_guard lock(mutex_);
    if (!open_ || copying_) return open_;
    const Limit limit(*this, Clock::now() + kPingPatience);
    // An empty statement leaves even a failed transaction as it is.
    const PgResultHandle result = exchange([&] { return PQsendQuery(handle_.get(), ""); });
    if (PQresultStatus(result.get()) != PGRES_EMPTY_QUERY || PQstatus(handle_.get()) != CONNECTION_OK) open_ = false;
    return open_;
  }

  void close() noexcept override {
    closing_ = true;  // ends another thread's wait
    std::lock_guard lock(mutex_);
    open_ = false;
    in_transaction_ = false;
    copying_ = false;
    handle_.reset();
  }

  // For the copy stream.
  void copy_write(std::span<const char> bytes) {
    std::lock_guard lock(mutex_);
    require_copying();
    refuse_stopped();
    while (!bytes.empty()) {
      const auto piece = bytes.first(std::min(bytes.size(), kCopyMessageBytes));
      // An error report of the server is noticed only by reading; without this it would wait until the last byte is sent.
      const bool alive = PQconsumeInput(handle_.get()) == 1;
      if (!alive || PQputCopyData(handle_.get(), piece.data(), static_cast<int>(piece.size())) != 1 || !flush()) {
        copy_result();
        throw ConnectionError("postgres.copy_ended", "COPY ended before all rows were sent", {.connection_lost = !open_});
      }
      bytes = bytes.subspan(piece.size());
    }
  }

  int64_t copy_finish() {
    std::lock_guard lock(mutex_);
    require_copying();
    refuse_stopped();
    PQputCopyEnd(handle_.get(), nullptr);
    return copy_result();
  }

  void copy_abandon() noexcept {
    std::lock_guard lock(mutex_);
    if (!handle_ || !copying_) return;
    try {
      const Undoing undoing(*this);
      // The server may have megabytes in hand, and triggers to run for them.
      if (!stopped_) request_cancel();
      PQputCopyEnd(handle_.get(), "snowmelt gave up this load");
      copy_result();
    } catch (const Error& error) {
      log(LogLevel::debug, "COPY abandoned: {}", error.message());
    } catch (...) {
    }
  }

  bool copying() const {
    std::lock_guard lock(mutex_);
    return copying_;
  }

  // Names of types beyond the built-in ones; asked once a connection.
  std::string type_name(Oid type) {
    for (const auto& [oid, name] : kTypeNames) {
      if (oid == type) return std::string(name);
    }
    std::lock_guard lock(mutex_);
    std::string& name = type_names_[type];
    if (name.empty() && PQtransactionStatus(handle_.get()) != PQTRANS_INERROR) {
      const PgResultHandle result = run("select pg_catalog.format_type($1::pg_catalog.oid, null)", {std::to_string(type)});
      if (PQntuples(result.get()) == 1) name = PQgetvalue(result.get(), 0, 0);
    }
    return name;
  }

 private:
  void require_usable() const {
    if (!open_)
      throw ConnectionError("postgres.connection_closed", "the connection is closed or was lost",
                            {.connection_lost = true, .nothing_sent = true});
    if (copying_)
      throw UsageError("postgres.copy_in_progress", "a COPY is in progress on this connection",
                       {.hint = "finish the load first"});
  }
  void require_copying() const {
    if (!copying_) throw UsageError("postgres.copy_over", "this COPY is over");
  }

  void open_transaction_if_needed() {
    require_usable();
    if (!autocommit_ && !in_transaction_) run("BEGIN", {});
  }

  // Waits of one call end at `deadline` at the latest; the connection is lost then.
  class Limit {
   public:
    Limit(LibpqConnection& connection, Clock::time_point deadline)
        : connection_(connection), before_(std::exchange(connection.limit_, std::min(connection.limit_, deadline))) {}
    ~Limit() { connection_.limit_ = before_; }
    Limit(const Limit&) = delete;
    Limit& operator=(const Limit&) = delete;

   private:
    LibpqConnection& connection_;
    const Clock::time_point before_;
  };

  // What undoes is sent whatever was stopped, and is not waited for long.
  class Undoing {
   public:
    explicit Undoing(LibpqConnection& connection)
        : connection_(connection),
          limit_(connection, Clock::now() + (connection.waiter_.stop.stop_requested() ? kStopPatience : kUndoPatience)) {
      ++connection_.undoing_;
    }
    ~Undoing() { --connection_.undoing_; }
    Undoing(const Undoing&) = delete;
    Undoing& operator=(const Undoing&) = delete;

   private:
    LibpqConnection& connection_;
    const Limit limit_;
  };

  void undo(const std::string& sql) {
    require_usable();
    const Undoing undoing(*this);
    try {
      run(sql, {});
    } catch (const Error&) {
      if (open_) throw;  // a lost connection has rolled back
    }
  }

  void refuse_stopped() const {
    if (undoing_ == 0 && waiter_.stop.stop_requested())
      throw Interrupted("postgres.stopped", "stopped before the statement was sent", {.nothing_sent = true});
  }

  // Until the server has something to say or room for more bytes. False when the wait is over and the connection lost.
  bool wait_for(short events) {
    const auto begun = Clock::now();
    std::optional<WaitingNote> note;  // none for what does not take long: it would clear what somebody else tells there
    for (;;) {
      const auto now = Clock::now();
      if (undoing_ == 0 && !stopped_ && waiter_.stop.stop_requested()) request_cancel();
      const auto end = stopped_ ? std::min(limit_, stop_limit_) : limit_;
      if (closing_ || now >= end) {
        lose_link();
        return false;
      }
      if (!note && now - begun >= kSilenceUntold) note.emplace(waiter_.note).set(kSilenceNote);
      const auto wait = std::min<Clock::duration>(end - now, kTick);
      pollfd socket{.fd = PQsocket(handle_.get()), .events = events, .revents = 0};
      const int ready = ::poll(&socket, 1, static_cast<int>(std::chrono::ceil<milliseconds>(wait).count()));
      if (ready > 0) return true;
      if (ready < 0 && errno != EINTR) return false;
    }
  }

  void request_cancel() {
    stopped_ = true;
    stop_limit_ = Clock::now() + kStopPatience;
    cancel_ = CancelRequest::send(cancel_key_);
  }

  // Nothing that is waited for comes any more: both directions of the socket end.
  void lose_link() {
    open_ = false;
    if (const int socket = PQsocket(handle_.get()); socket >= 0) ::shutdown(socket, SHUT_RDWR);
  }

  bool flush() {
    for (;;) {
      const int left = PQflush(handle_.get());
      if (left <= 0) return left == 0;
      if (!wait_for(POLLIN | POLLOUT) || PQconsumeInput(handle_.get()) != 1) return false;
    }
  }

  // The next result of what was sent; null at the end. A link that is lost meanwhile gives libpq's own failure.
  PgResultHandle next_result() {
    while (PQisBusy(handle_.get()) != 0) {
      if (!wait_for(POLLIN) || PQconsumeInput(handle_.get()) != 1) break;
    }
    return PgResultHandle(PQgetResult(handle_.get()));
  }

  // Sends, and receives all results but those of a COPY that begins; gives the first failure, else the last result.
  template <typename Send>
  PgResultHandle exchange(Send&& send) {
    begin_exchange();
    if (send() != 1 || !flush()) return end_exchange(nullptr);
    PgResultHandle last;
    while (PgResultHandle result = next_result()) {
      if (!last || !is_failure(last.get())) last = std::move(result);
      const ExecStatusType status = PQresultStatus(last.get());
      if (status == PGRES_COPY_IN || status == PGRES_COPY_OUT || PQstatus(handle_.get()) != CONNECTION_OK) return last;
    }
    return end_exchange(std::move(last));
  }

  void begin_exchange() {
    stopped_ = false;
    cancel_.reset();
  }
  // A cancel request that is still on its way would hit the next statement.
  PgResultHandle end_exchange(PgResultHandle result) {
    if (stopped_ && open_ && (cancel_ == nullptr || !cancel_->taken_by(stop_limit_))) lose_link();
    return result;
  }

  PgResultHandle run(std::string_view sql, const std::vector<Value>& parameters) {
    refuse_stopped();
    const std::string text(sql);
    std::vector<const char*> values;
    for (const Value& value : parameters) values.push_back(value ? value->c_str() : nullptr);
    // The extended protocol takes one statement only, so a semicolon in a spliced name cannot start a second one.
    return checked(exchange([&] {
                     return PQsendQueryParams(handle_.get(), text.c_str(), static_cast<int>(values.size()), nullptr,
                                              values.data(), nullptr, nullptr, /*resultFormat=*/0);
                   }),
                   text);
  }

  PgResultHandle checked(PgResultHandle result, std::string_view sql) {
    note_state();
    if (result == nullptr || is_failure(result.get())) fail(failure_of(result.get(), handle_.get()));
    if (in_transaction_ && !wrote_ && leaves_work(PQcmdStatus(result.get()), sql)) wrote_ = true;
    return result;
  }

  // Whatever fails once the work is stopped fails because of that.
  [[noreturn]] void fail(const PostgresFailure& failure) {
    if (undoing_ == 0 && waiter_.stop.stop_requested()) {
      throw Interrupted("postgres.stopped", open_ ? "the statement was stopped" : "stopped; PostgreSQL did not answer any more",
                        {.sqlstate = failure.sqlstate, .connection_lost = !open_});
    }
    throw_postgres_failure(failure);
  }

  // After a lost link in_transaction() stays: the manager must know that work is gone.
  void note_state() {
    if (!open_ || PQstatus(handle_.get()) != CONNECTION_OK) {
      open_ = false;
      return;
    }
    in_transaction_ = PQtransactionStatus(handle_.get()) != PQTRANS_IDLE;
    if (!in_transaction_) wrote_ = false;
  }

  // Reads what ends a COPY, up to the last result.
  int64_t copy_result() {
    copying_ = false;
    int64_t rows = -1;
    std::optional<PostgresFailure> failure;
    flush();
    while (const PgResultHandle result = next_result()) {
      if (PQresultStatus(result.get()) == PGRES_COPY_IN) {  // not ended yet: only when the link failed
        PQputCopyEnd(handle_.get(), "snowmelt gave up this load");
        if (PQstatus(handle_.get()) != CONNECTION_OK) break;
        continue;
      }
      if (!is_failure(result.get()))
        rows = affected_rows(result.get());
      else if (!failure)
        failure = failure_of(result.get(), handle_.get());
    }
    end_exchange(nullptr);
    note_state();
    if (!failure && !open_) failure = failure_of(nullptr, handle_.get());
    if (failure) fail(*failure);
    return rows;
  }

  [[noreturn]] void refuse_copy() {
    PQputCopyEnd(handle_.get(), "COPY needs copy_in()");
    flush();
    while (next_result()) {
    }
    end_exchange(nullptr);
    note_state();
    throw UsageError("postgres.copy_by_execute", "COPY cannot run through execute()", {.hint = "use copy_in()"});
  }

  Result read_rows(PGresult* result) {
    Result out;
    const int columns = PQnfields(result);
    for (int c = 0; c < columns; ++c) out.columns.push_back(describe(result, c));
    const int rows = PQntuples(result);
    out.rows.reserve(static_cast<size_t>(rows));
    for (int r = 0; r < rows; ++r) {
      Row row;
      row.reserve(static_cast<size_t>(columns));
      for (int c = 0; c < columns; ++c) {
        if (PQgetisnull(result, r, c) != 0)
          row.emplace_back(std::nullopt);
        else
          row.emplace_back(std::string(PQgetvalue(result, r, c), static_cast<size_t>(PQgetlength(result, r, c))));
      }
      out.rows.push_back(std::move(row));
    }
    out.affected = PQresultStatus(result) == PGRES_TUPLES_OK ? rows : affected_rows(result);
    return out;
  }

  ColumnDescription describe(PGresult* result, int column) {
    constexpr Oid kNumeric = 1700, kVarchar = 1043, kBpchar = 1042;
    constexpr int kTypmodHeader = 4;
    ColumnDescription description;
    const Oid type = PQftype(result, column);
    const int typmod = PQfmod(result, column);
    description.name = PQfname(result, column);
    description.type = type_name(type);
    if (typmod >= kTypmodHeader && type == kNumeric) {
      description.precision = ((typmod - kTypmodHeader) >> 16) & 0xffff;
      description.scale = (((typmod - kTypmodHeader) & 0x7ff) ^ 1024) - 1024;
    } else if (typmod >= kTypmodHeader && (type == kVarchar || type == kBpchar)) {
      description.length = typmod - kTypmodHeader;
    }
    return description;
  }

  // Whether the server has closed an idle connection: its last words and the end of the stream lie in the socket, so this
  // needs no network. What another thread is using is not looked at.
  bool hung_up() const {
    const std::unique_lock lock(mutex_, std::try_to_lock);
    if (!lock || !handle_ || copying_) return false;
    pollfd socket{.fd = PQsocket(handle_.get()), .events = POLLIN, .revents = 0};
    while (::poll(&socket, 1, 0) == 1) {
      if (PQconsumeInput(handle_.get()) != 1 || PQstatus(handle_.get()) != CONNECTION_OK) return true;
    }
    return false;
  }

  mutable std::recursive_mutex mutex_;
  Notices notices_;  // outlives the handle
  PgConnectionHandle handle_;
  const std::shared_ptr<PGcancel> cancel_key_;  // a copy of address and key: a request may outlive the connection
  const bool autocommit_;
  mutable std::atomic<bool> open_{true};
  std::atomic<bool> in_transaction_{false};
  std::atomic<bool> wrote_{false};  // in this transaction
  std::atomic<bool> closing_{false};
  bool copying_ = false;
  ConnectionWaiter waiter_;
  Clock::time_point limit_ = Clock::time_point::max();  // of the call that is waiting
  int undoing_ = 0;
  bool stopped_ = false;  // this exchange was cancelled …
  std::shared_ptr<CancelRequest> cancel_;
  Clock::time_point stop_limit_;  // … and ends by then
  std::map<Oid, std::string> type_names_;
};

LibpqCopyStream::~LibpqCopyStream() {
  if (!ended_ && connection_->copying()) connection_->close();
}

void LibpqCopyStream::write(std::span<const char> bytes) { connection_->copy_write(bytes); }

int64_t LibpqCopyStream::finish() {
  const int64_t rows = connection_->copy_finish();
  ended_ = true;  // not before: a stop request may have refused the end, and the COPY goes on until abandon()
  return rows;
}

void LibpqCopyStream::abandon() noexcept {
  if (!std::exchange(ended_, true)) connection_->copy_abandon();
}

void LibpqCursor::execute(std::string_view sql, const std::vector<Value>& parameters) {
  if (!connection_) throw UsageError("postgres.cursor_closed", "the cursor is closed");
  const WaitScope waiting(*connection_, {.stop = stop_});
  result_ = connection_->execute(sql, parameters);
  next_ = 0;
}

std::optional<Row> LibpqCursor::fetchone() {
  if (next_ == result_.rows.size()) return std::nullopt;
  return std::move(result_.rows[next_++]);
}

void LibpqCursor::close() {
  connection_.reset();
  result_ = {};
  next_ = 0;
}

std::string quoted(std::string_view text, char quote) {
  if (text.find('\0') != std::string_view::npos)
    throw ValueError("postgres.nul_in_name", "a name or text for SQL contains a NUL character");
  std::string out(1, quote);
  for (const char c : text) {
    if (c == quote) out += quote;
    out += c;
  }
  return out += quote;
}

PostgresConfig default_config(bool autocommit) {
  PostgresConfig config = load_config().postgres;
  config.autocommit = autocommit;
  return config;
}

}  // namespace

std::shared_ptr<PostgresConnection> open_postgres(const PostgresConfig& config, const std::stop_token& stop) {
  return std::make_shared<LibpqConnection>(connect_postgres(config, {.stop = stop}), config.autocommit);
}

std::shared_ptr<PostgresConnection> open_postgres_transaction(const PostgresConfig& config, milliseconds limit,
                                                              const std::stop_token& stop) {
  const auto deadline = Clock::now() + limit;
  try {
    auto connection =
        std::make_shared<LibpqConnection>(connect_postgres(config, {.latest = deadline, .stop = stop}), config.autocommit);
    const WaitScope waiting(*connection, {.stop = stop});
    if (connection->begin_by(deadline)) return connection;
  } catch (const ConnectionError& error) {
    if (Clock::now() < deadline) throw;
    log(LogLevel::debug, "another connection: {}", error.message());
  }
  return nullptr;
}

std::string quote_identifier(std::string_view name) { return quoted(name, '"'); }

std::string quote_qualified(std::string_view schema, std::string_view name) {
  return quote_identifier(schema) + "." + quote_identifier(name);
}
std::string quote_literal(std::string_view text) {
  const std::string literal = quoted(text, '\'');
  if (text.find('\\') == std::string_view::npos) return literal;
  // E'' means the same whatever standard_conforming_strings says.
  std::string escaped = " E";
  for (const char c : literal) {
    if (c == '\\') escaped += '\\';
    escaped += c;
  }
  return escaped;
}

PostgresConnectionManager::PostgresConnectionManager(bool autocommit) : config_(default_config(autocommit)) {}
PostgresConnectionManager::PostgresConnectionManager(PostgresConfig config) : config_(std::move(config)) {}
PostgresConnectionManager::~PostgresConnectionManager() { close(); }

std::shared_ptr<PostgresConnection> PostgresConnectionManager::get_postgres_connection() {
  return std::static_pointer_cast<PostgresConnection>(get_connection());
}

void PostgresConnectionManager::commit() {
  if (const auto connection = std::static_pointer_cast<PostgresConnection>(current_connection())) connection->commit();
}

void PostgresConnectionManager::rollback() {
  if (const auto connection = std::static_pointer_cast<PostgresConnection>(current_connection())) connection->rollback();
}

std::shared_ptr<Connection> PostgresConnectionManager::open() { return open_postgres(config_, stop_token()); }

bool PostgresConnectionManager::ping(Connection& connection) {
  auto& postgres = static_cast<PostgresConnection&>(connection);
  const WaitScope waiting(postgres, {.stop = stop_token()});
  return postgres.ping();
}

// Closing rolls back, and waits for no answer.
void PostgresConnectionManager::dispose(Connection& connection) noexcept {
  auto& postgres = static_cast<PostgresConnection&>(connection);
  if (postgres.has_uncommitted_work()) {
    log_message(LogLevel::warning,
                "PostgreSQL: uncommitted work is rolled back; call commit() before leaving the connection manager's scope");
  }
  postgres.close();
}

void PostgresConnectionManager::before_reconnect(Connection& lost) {
  auto& postgres = static_cast<PostgresConnection&>(lost);
  if (!postgres.in_transaction()) return;
  postgres.close();  // forgets the transaction, so that the caller who has read the error may go on with a new connection
  throw ConnectionError("postgres.transaction_lost", "the connection was lost inside a transaction; its uncommitted work is gone",
                        {.hint = "start the work of this transaction again", .connection_lost = true});
}

}  // namespace snowmelt
