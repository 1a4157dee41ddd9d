// One Snowflake session for a whole run: login, statements in parallel, results as facts (the bytes are extract/'s).
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <stop_token>
#include <string>
#include <vector>

#include "snowmelt/config.h"
#include "snowmelt/connections/base_connection.h"

namespace snowmelt {

class SnowflakeConnection;

// A column as the response's row type gives it.
struct SnowflakeColumn {
  std::string name;
  std::string type;  // lower case: fixed, real, text, boolean, date, time, timestamp_ntz, …
  std::optional<int> precision;
  std::optional<int> scale;
  std::optional<int64_t> length;  // characters
  std::optional<int64_t> byte_length;
  bool nullable = true;
  std::string extension;                // GEOGRAPHY, GEOMETRY, UUID: the type itself where `type` is only its carrier
  std::optional<int> dimension;         // of a VECTOR
  std::vector<SnowflakeColumn> fields;  // of structured types and VECTOR: members, element, key and value
};

// As DB-API describes them.
std::vector<ColumnDescription> descriptions_of(const std::vector<SnowflakeColumn>& row_type);

struct ResultChunk {
  std::string url;  // presigned: as secret as a password, never logged
  int64_t rows = 0;
  int64_t uncompressed_size = 0;  // bytes
  int64_t compressed_size = 0;    // bytes; 0 where the server does not say
};

// A statement's response. Rows: first the inline ones, then the chunks in order; together `total`.
struct StatementResult {
  std::string query_id;
  int64_t total = 0;
  bool arrow = true;  // false: `rows` and JSON chunks
  std::vector<SnowflakeColumn> row_type;
  std::string first_batch;  // an Arrow IPC stream (decoded from base64); empty when there is none
  std::vector<Row> rows;    // inline rows of a JSON result
  std::vector<ResultChunk> chunks;
  std::map<std::string, std::string> chunk_headers;  // sent with every chunk request (or the SSE-C pair made from qrmk)
  int64_t statement_type_id = 0;

  int64_t inline_rows() const;  // total less the chunks' rows
};

struct Statement {
  std::string sql;
  std::vector<Value> parameters;  // bound as TEXT to ?
  std::string query_tag;
  bool asynchronous = false;   // submit, then poll: for statements that take minutes
  bool describe_only = false;  // nothing is run: the answer has the row type and statement_type_id
  std::stop_token stop;        // cancels on the server, then throws Interrupted
};

struct LoginOptions {
  bool ask_person = true;  // false: only a kept token or a method without a person may log in
  std::stop_token stop;    // ends a login that waits for a person
};

// The driver's side: sessions by number. The real one is the Go bridge; tests put a fake in its place.
// All methods may be called from several threads at once and throw snowmelt errors.
class SnowflakeDriver {
 public:
  virtual ~SnowflakeDriver() = default;
  struct Session {
    int64_t handle = 0;
    std::string login_kind;           // "password", "keypair", "externalbrowser", "id_token", …
    int64_t id_token_validity_s = 0;  // 0: the account gave no id token
    int64_t master_validity_s = 0;    // how long the session can be renewed; 0: not said
    std::string cache_problem;        // why an id token cannot be kept for the next process; empty: it can
  };
  // Throws AuthenticationError "snowflake.person_needed" where a person would have to act and may not be asked.
  virtual Session open(const SnowflakeConfig& config, const LoginOptions& options) = 0;
  virtual StatementResult execute(int64_t session, const Statement& statement) = 0;
  // The finished result of an earlier statement, with fresh chunk URLs.
  virtual StatementResult result(int64_t session, const std::string& query_id, std::stop_token stop) = 0;
  virtual void ping(int64_t session, std::stop_token stop) = 0;
  // The server is told; a server that does not answer is not waited for longer than a moment.
  virtual void close(int64_t session) noexcept = 0;
};

// The official Go driver behind bridge/; loaded (dlopen) at the first open(), once a process.
std::shared_ptr<SnowflakeDriver> bridge_driver();

// Rows of a result whose decoding needs Arrow or a download, which are extract/'s business.
class RowSource {
 public:
  virtual ~RowSource() = default;
  virtual std::optional<Row> next() = 0;  // nullopt: the end
};
// A stop request ends a waiting next().
using ResultRowReader =
    std::function<std::unique_ptr<RowSource>(std::shared_ptr<SnowflakeConnection>, const StatementResult&, std::stop_token)>;

class SnowflakeConnection : public Connection, public std::enable_shared_from_this<SnowflakeConnection> {
 public:
  SnowflakeConnection(std::shared_ptr<SnowflakeDriver> driver, SnowflakeDriver::Session session, SnowflakeConfig config = {},
                      ResultRowReader row_reader = {});
  ~SnowflakeConnection() override;

  std::unique_ptr<Cursor> cursor() override;
  bool is_open() const override { return open_; }

  StatementResult execute(const Statement& statement);
  StatementResult result(const std::string& query_id, std::stop_token stop = {});
  void ping(std::stop_token stop = {});
  void close() noexcept;
  // Given up as dead: what still holds it gets a ConnectionError with connection_lost(), not one about misuse.
  void give_up() noexcept { lost_ = true; }
  const std::string& login_kind() const { return session_.login_kind; }
  const SnowflakeDriver::Session& session() const { return session_; }
  // What it was opened with: chunks are fetched through the same proxy.
  const SnowflakeConfig& config() const { return config_; }
  const ResultRowReader& row_reader() const { return row_reader_; }

 private:
  void require_open() const;
  template <typename Call>
  auto guarded(Call&& call);  // marks the connection dead when a call says connection_lost

  std::shared_ptr<SnowflakeDriver> driver_;
  SnowflakeDriver::Session session_;
  const SnowflakeConfig config_;
  const ResultRowReader row_reader_;
  std::atomic<bool> open_{true};
  std::atomic<bool> lost_{false};
  std::atomic<bool> closed_{false};  // a lost session is closed too, once: the driver keeps its half
};

class SnowflakeConnectionManager : public BaseConnectionManager {
 public:
  // Without arguments the settings come from snowmelt.toml and the environment (config.h).
  SnowflakeConnectionManager();
  explicit SnowflakeConnectionManager(SnowflakeConfig config, std::shared_ptr<SnowflakeDriver> driver = bridge_driver());
  ~SnowflakeConnectionManager() override;

  // As get_connection(), typed for the data plane.
  std::shared_ptr<SnowflakeConnection> get_snowflake_connection();

  // Logins by kind ("externalbrowser": 1); their sum is the report's `logins`.
  std::map<std::string, int64_t> logins_by_kind() const;
  int64_t logins() const noexcept { return connections_opened(); }

  const SnowflakeConfig& config() const { return config_; }

  // Whether somebody may be asked to act. `if_present`, the default: only where something says that somebody is there: a
  // terminal, and for the first login also a desktop, a browser or a notebook (person.h). Without anybody only a kept token or a
  // method that needs nobody logs in; what else fails at once with "snowflake.person_needed".
  enum class AskPerson { if_present, always, never };
  void set_ask_person(AskPerson who);

  // For cursors on this manager's connections, from the next one opened on (extract/row_reader.h). Without one, fetching rows
  // that came as Arrow or in chunks is a BugError.
  void set_row_reader(ResultRowReader reader);

 protected:
  std::shared_ptr<Connection> open() override;
  bool ping(Connection& connection) override;
  void dispose(Connection& connection) noexcept override;
  void before_reconnect(Connection& lost) override;

 private:
  SnowflakeConfig config_;
  std::shared_ptr<SnowflakeDriver> driver_;
  mutable std::mutex logins_mutex_;  // of what follows
  AskPerson ask_person_ = AskPerson::if_present;
  ResultRowReader row_reader_;
  std::map<std::string, int64_t> logins_by_kind_;
};

}  // namespace snowmelt
