#include "snowmelt/extract/snowflake_data_extractor.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <ctime>
#include <thread>

#include "snowmelt/error.h"
#include "snowmelt/extract/extraction.h"
#include "snowmelt/extract/query_check.h"
#include "snowmelt/extract/row_reader.h"
#include "snowmelt/extract/table_metadata.h"
#include "snowmelt/log.h"
#include "snowmelt/storage/durable_file.h"

namespace snowmelt {
namespace fs = std::filesystem;

namespace {

// A statement's answer, in whichever form the connection gives it.
struct Answer {
  std::optional<StatementResult> result;
  std::unique_ptr<Cursor> cursor;  // of a connection that only knows rows
};

Answer execute(const std::shared_ptr<Connection>& connection, const TableConfig& table, const std::string& sql,
               const std::stop_token& stop) {
  if (const auto snowflake = std::dynamic_pointer_cast<SnowflakeConnection>(connection)) {
    if (!table.query.empty()) check_query(*snowflake, sql, stop);
    return {snowflake->execute({.sql = sql, .parameters = {}, .query_tag = {}, .stop = stop}), nullptr};
  }
  std::unique_ptr<Cursor> cursor = connection->cursor();
  cursor->execute(sql);
  if (const StatementResult* result = cursor->result()) return {*result, nullptr};
  return {std::nullopt, std::move(cursor)};
}

// The call with a connection, once more with a new one where the first turned out to be lost. Only for what reads.
template <typename Call>
auto with_connection(ConnectionManager& manager, Call&& call) {
  const std::shared_ptr<Connection> connection = manager.get_connection();
  try {
    return call(connection);
  } catch (const Error& error) {
    if (!error.connection_lost() || connection->is_open()) throw;
    log(LogLevel::warning, "the Snowflake session was lost ({}); logging in again", error.message());
  }
  return call(manager.get_connection());
}

// The words of the user, checked to be a name and nothing else: no second statement hides in it.
std::string statement_of(const TableConfig& table) {
  if (!table.query.empty()) return table.query;
  parse_name(table.source, Fold::upper);
  return "select * from " + table.source;
}

std::string name_of(const TableConfig& table) {
  if (!table.name.empty()) return table.name;
  if (table.source.empty())
    throw ConfigurationError("config.no_name", "a query needs a name", {.hint = "add name = \"…\" beside the query"});
  return fmt::format("{}", fmt::join(parse_name(table.source, Fold::upper), "."));
}

std::string utc_time(const char* format) {
  const std::time_t now = std::time(nullptr);
  return fmt::format(fmt::runtime(format), fmt::gmtime(now));
}

// Everything that types alone can tell is told at once: what nobody knows to keep, and what the target cannot hold.
std::shared_ptr<const WireConverter> plan_columns(const std::vector<SnowflakeColumn>& row_type, const ColumnRules& rules,
                                                  PolicyCounts* policies, const ColumnCheck& check) {
  try {
    auto converter = std::make_shared<const WireConverter>(row_type, rules, policies);
    if (check) check(*converter->schema(), converter->columns());
    return converter;
  } catch (ValueError& error) {
    if (error.code() != "snowflake.unknown_type" || !check) throw;
    try {
      ColumnRules rest = rules;
      for (const SnowflakeColumn& column : row_type) {
        if (!is_known_type(column)) rest.drop.push_back(column.name);
      }
      const WireConverter converter(row_type, rest);
      check(*converter.schema(), converter.columns());
    } catch (const ValueError& more) {
      error.add_offender(more);
    }
    throw;
  }
}

Manifest start_manifest(const TableConfig& table, const std::string& statement, const WireConverter& converter,
                        const PartWriterOptions& writer) {
  Manifest manifest;
  manifest.export_id = utc_time("{:%Y%m%dT%H%M%S}") + "-" + random_hex(4);
  manifest.source = table.source.empty() ? table.name : table.source;
  manifest.statement = statement;
  manifest.query_id = writer.query_id;
  manifest.created_at = utc_time("{:%Y-%m-%dT%H:%M:%SZ}");
  manifest.writer = kWriterName;
  manifest.encrypted = writer.key.has_value();
  if (writer.key) {
    manifest.salt = writer.key->salt_hex;
  } else {
    manifest.columns = converter.columns();
  }
  return manifest;
}

std::optional<int64_t> as_integer(const Value& value) {
  int64_t number = 0;
  if (!value) return std::nullopt;
  const auto [end, error] = std::from_chars(value->data(), value->data() + value->size(), number);
  return error == std::errc() && end == value->data() + value->size() ? std::optional(number) : std::nullopt;
}

}  // namespace

SnowflakeDataExtractor::SnowflakeDataExtractor() : connection_manager_(nullptr) {
  log_message(LogLevel::warning, kNoManagerWarning);
  own_manager_ = std::make_shared<SnowflakeConnectionManager>();
  connection_manager_ = own_manager_.get();
  install_row_reader();
}

SnowflakeDataExtractor::SnowflakeDataExtractor(ConnectionManager& connection_manager) : connection_manager_(&connection_manager) {
  install_row_reader();
}

SnowflakeDataExtractor::~SnowflakeDataExtractor() = default;

TableSize SnowflakeDataExtractor::estimate_table_size(const std::string& source) {
  const std::string query = tables_query("ROW_COUNT, BYTES", source);
  try {
    return with_connection(*connection_manager_, [&](const std::shared_ptr<Connection>& connection) -> TableSize {
      const std::unique_ptr<Cursor> cursor = connection->cursor();
      cursor->execute(query);
      const std::optional<Row> row = cursor->fetchone();
      if (!row || row->size() != 2) return {};
      return {as_integer((*row)[0]), as_integer((*row)[1])};
    });
  } catch (const QueryError& error) {
    // Best effort: a role without the right to look may still export.
    log(LogLevel::warning, "the size of {} is not known: {}", source, error.message());
    return {};
  }
}

Extraction SnowflakeDataExtractor::extract_table_chunks(const std::string& source, const ExtractOptions& options) {
  TableConfig table;
  table.source = source;
  return extract_table_chunks(table, options);
}

Extraction SnowflakeDataExtractor::extract_table_chunks(const TableConfig& table, const ExtractOptions& options) {
  ExtractionJob job;
  job.table = name_of(table);
  const std::string statement = statement_of(table);
  job.directory = export_directory(options.directory, job.table);
  warn_of_open_directory(options.directory, job.directory, options.permissions);
  make_directories(job.directory, options.permissions);
  job.lock = DirectoryLock::exclusive(
      job.directory, options.permissions,
      {.most = options.wait, .stop = options.stop, .note = options.progress != nullptr ? &options.progress->waiting : nullptr});
  sweep_parts(job.directory);
  job.writer.permissions = options.permissions;
  job.part_size = options.part_size;
  const int threads = options.threads > 0 ? options.threads : default_threads();
  job.downloads = options.downloads > 0 ? options.downloads : default_downloads(threads);
  job.budget = options.budget ? options.budget : make_work_budget(threads, job.downloads, options.memory_limit);
  job.progress = options.progress;
  job.stop = options.stop;
  job.writer.compression_level = options.compression_level;
  if (options.password) job.writer.key = derive_encryption_key(*options.password, random_salt_hex());

  std::weak_ptr<SnowflakeConnection> session;  // a manager that is closed meanwhile need not wait for metadata
  try {
    std::shared_ptr<Connection> connection;
    Answer answer = with_connection(*connection_manager_, [&](std::shared_ptr<Connection> present) {
      connection = std::move(present);
      return execute(connection, table, statement, options.stop);
    });
    const auto snowflake = std::dynamic_pointer_cast<SnowflakeConnection>(connection);
    if (snowflake != nullptr) job.http = http_options(snowflake->config());
    session = snowflake;
    job.converter = plan_columns(answer.result ? answer.result->row_type : row_type_of(answer.cursor->description()), table.rules,
                                 job.progress != nullptr ? &job.progress->policies : nullptr, options.check_columns);
    if (answer.result) {
      job.writer.query_id = answer.result->query_id;
      if (job.progress) job.progress->rows_total = answer.result->total;
      // The extractor's own manager lives as long as the extraction needs it; a caller's is the caller's.
      job.source = std::make_shared<ResultSource>(
          connection, std::move(*answer.result), job.converter,
          [manager = connection_manager_, kept = own_manager_] { return manager->get_connection(); });
    } else {
      job.cursor_feed = open_cursor_feed(std::move(answer.cursor));
    }
  } catch (Error& error) {
    error.add_where(job.table);
    throw;
  }
  job.manifest = start_manifest(table, statement, *job.converter, job.writer);
  if (!session.expired() && !table.source.empty()) {
    job.read_metadata = [session, source = table.source](const std::stop_token& stop) {
      const auto alive = session.lock();
      return alive != nullptr && alive->is_open() ? read_table_metadata(alive, source, stop) : TableMetadata();
    };
  }
  return Extraction(std::make_unique<Extraction::Impl>(std::move(job)));
}

}  // namespace snowmelt
