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

SnowflakeDataExtractor::SnowflakeDataExtractor() {
  log_message(LogLevel::warning, kNoManagerWarning);
  session_ = source_session(std::make_shared<SnowflakeConnectionManager>());
}

SnowflakeDataExtractor::SnowflakeDataExtractor(std::shared_ptr<ConnectionManager> connection_manager)
    : session_(source_session(std::move(connection_manager))) {}

SnowflakeDataExtractor::~SnowflakeDataExtractor() = default;

TableSize SnowflakeDataExtractor::estimate_table_size(const std::string& source) {
  const Statement query{.sql = tables_query("ROW_COUNT, BYTES", source), .parameters = {}, .query_tag = {}, .stop = {}};
  try {
    const SmallResult result = read_small_result(session_, session_->execute(query), {});
    if (result.rows.empty() || result.rows[0].size() != 2) return {};
    return {as_integer(result.rows[0][0]), as_integer(result.rows[0][1])};
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
      {.most = options.wait, .stop = options.stop, .note = options.progress ? &options.progress->waiting : nullptr});
  sweep_parts(job.directory);
  job.writer.permissions = options.permissions;
  job.part_size = options.part_size;
  const int threads = options.threads > 0 ? options.threads : default_threads();
  job.downloads = options.downloads > 0 ? options.downloads : default_downloads(threads);
  job.budget = options.budget ? options.budget : make_work_budget(threads, job.downloads, options.memory_limit);
  job.progress = options.progress;
  job.stop = options.stop;
  job.writer.compression_level = options.compression_level;
  if (options.password) job.writer.key = options.password->key(random_salt_hex());

  try {
    if (!table.query.empty()) check_query(*session_, statement, options.stop);
    SourceSession::Answer answer = session_->execute({.sql = statement, .parameters = {}, .query_tag = {}, .stop = options.stop});
    job.http = http_options(*session_);
    job.http.low_speed_bytes_per_s = options.chunk_rate_min;
    job.http.time_max = options.chunk_time_max;
    job.converter = plan_columns(answer.result ? answer.result->row_type : row_type_of(answer.cursor->description()), table.rules,
                                 job.progress ? &job.progress->policies : nullptr, options.check_columns);
    if (answer.result) {
      job.writer.query_id = answer.result->query_id;
      if (job.progress) job.progress->rows_total = answer.result->total;
      job.source = std::make_shared<ResultSource>(session_, std::move(*answer.result), job.converter);
    } else {
      job.cursor_feed = open_cursor_feed(std::move(answer.cursor));
    }
  } catch (Error& error) {
    error.add_where(job.table);
    throw;
  }
  job.manifest = start_manifest(table, statement, *job.converter, job.writer);
  if (session_->config() && !table.source.empty()) {
    job.read_metadata = [session = session_, source = table.source](const std::stop_token& stop) {
      return read_table_metadata(session, source, stop);
    };
  }
  return Extraction(std::make_unique<Extraction::Impl>(std::move(job)));
}

}  // namespace snowmelt
