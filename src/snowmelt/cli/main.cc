// The command line: the only part of snowmelt that prints.
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>

#include "snowmelt/cli/login.h"
#include "snowmelt/cli/output.h"
#include "snowmelt/cli/progress_display.h"
#include "snowmelt/cli/signals.h"
#include "snowmelt/cli/summary.h"
#include "snowmelt/config.h"
#include "snowmelt/connections/postgres_connection.h"
#include "snowmelt/connections/snowflake_connection.h"
#include "snowmelt/duration.h"
#include "snowmelt/error.h"
#include "snowmelt/log.h"
#include "snowmelt/names.h"
#include "snowmelt/pipeline/export_data.h"
#include "snowmelt/pipeline/import_data.h"
#include "snowmelt/pipeline/run_data.h"
#include "snowmelt/pipeline/table_loop.h"
#include "snowmelt/pipeline/type_table.h"

namespace snowmelt {
namespace {

struct CommandLine {
  std::string config_file;
  std::vector<std::string> tables;
  std::string directory;
  bool json = false;
  int jobs = 2;
  int load_connections = -1;  // as the configuration says
  std::string wait;           // empty: as the configuration says
  std::string log_format = "text";
  bool verbose = false;
  bool check = false;
  std::vector<std::string> words;  // as they were given
};

constexpr const char* kExamples = R"(
Examples:
  snowmelt run                         all tables of ./snowmelt.toml, one login
  snowmelt run --table orders --json   one table, the report as JSON on stdout
  snowmelt export --directory /data    only Snowflake -> Parquet
  snowmelt import --directory /data    only Parquet -> PostgreSQL, no login
  snowmelt login                       log in now, so that the night's run asks nobody
  snowmelt types                       how each type is kept, as in docs/types.md

Exit codes: 0 done, 1 usage, 2 configuration, 3 authentication, 4 connection, 5 query refused, 6 files,
  7 value cannot be kept, 8 PostgreSQL refused, 9 commit in doubt, 10 bug, 11 verification, 12 locked, 130/143 signals)";

// Picks tables by name, source, target or last part, without regard to case: people type what they see.
bool names_table(const TableConfig& table, const std::string& wanted) {
  const std::string want = lower_case(wanted);
  const auto last = [](const std::string& text) { return text.substr(text.rfind('.') + 1); };
  for (const std::string& text : {table.name, table.source, table.target}) {
    if (!text.empty() && (lower_case(text) == want || lower_case(last(text)) == want)) return true;
  }
  return false;
}

std::vector<TableConfig> pick_tables(const Config& config, const std::vector<std::string>& wanted) {
  if (wanted.empty()) return config.tables;
  std::vector<bool> picked(config.tables.size());
  for (const std::string& name : wanted) {
    bool found = false;
    for (size_t i = 0; i < config.tables.size(); ++i) {
      if (names_table(config.tables[i], name)) found = picked[i] = true;
    }
    if (!found) {
      throw UsageError("usage.unknown_table", fmt::format("no [[table]] of the configuration is called {}", name),
                       {.hint = "--table takes a table's source, target or name"});
    }
  }
  std::vector<TableConfig> tables;
  for (size_t i = 0; i < config.tables.size(); ++i) {
    if (picked[i]) tables.push_back(config.tables[i]);
  }
  return tables;
}

std::string log_line(LogLevel level, std::string_view message, bool json) {
  constexpr const char* kNames[] = {"debug", "info", "warning", "error"};
  const char* name = kNames[static_cast<int>(level)];
  if (json) {
    return nlohmann::json{{"level", name}, {"message", message}}.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  }
  return fmt::format("{}: {}", name, message);
}

Config configuration(const CommandLine& line) {
  return load_config(line.config_file.empty() ? std::nullopt : std::optional<std::filesystem::path>(line.config_file));
}

std::string quoted_for_shell(const std::string& word) {
  constexpr std::string_view kPlain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./:=,@%+-";
  if (!word.empty() && word.find_first_not_of(kPlain) == std::string::npos) return word;
  std::string quoted = "'";
  for (const char c : word) quoted += c == '\'' ? "'\\''" : std::string(1, c);
  return quoted + "'";
}

// The same command; with some tables done, for those that are not.
std::string command_to_go_on(const CommandLine& line, const RunReport& report) {
  constexpr size_t kNamedMost = 8;
  std::vector<std::string> undone;
  for (const TableReport& table : report.tables) {
    if (!table.is_done()) undone.push_back(table.source);
  }
  const bool narrower = undone.size() < report.tables.size() && undone.size() <= kNamedMost;
  std::string command;
  for (size_t i = 0; i < line.words.size(); ++i) {
    const std::string& word = line.words[i];
    if (narrower && word == "--table") {
      ++i;  // its value
      continue;
    }
    if (narrower && word.starts_with("--table=")) continue;
    command += (command.empty() ? "" : " ") + quoted_for_shell(word);
  }
  if (narrower) {
    for (const std::string& source : undone) command += " --table " + quoted_for_shell(source);
  }
  return command;
}

class Command {
 public:
  Command(std::string name, CommandLine line, SignalStop& signals)
      : name_(std::move(name)), line_(std::move(line)), signals_(signals) {
    using Work = ProgressDisplay::Work;
    const Work work = name_ == "export" ? Work::export_ : name_ == "import" ? Work::import_ : Work::both;
    display_ = std::make_unique<ProgressDisplay>(ProgressDisplay::detect_style(), work, signals.token());
    set_log_sink([this](LogLevel level, std::string_view message) {
      if (level < (line_.verbose ? LogLevel::debug : LogLevel::warning)) return;
      display_->print_line(log_line(level, message, line_.log_format == "json"));
    });
  }
  ~Command() {
    set_log_sink({});
    display_.reset();
  }

  int operator()() {
    Config config = configuration(line_);
    validate_tables(config);
    if (!line_.directory.empty()) config.export_.directory = line_.directory;
    if (const auto wait = parse_duration(line_.wait)) config.postgres.wait = *wait;
    const std::vector<TableConfig> tables = pick_tables(config, line_.tables);
    RunOptions options{
        .export_ = config.export_,
        .password = file_password(),
        .jobs = line_.jobs,
        .load_connections = line_.load_connections >= 0 ? line_.load_connections : config.postgres.load_connections,
        .observer = display_.get(),
        .stop = signals_.token(),
        .wait = config.postgres.wait};
    RunReport report = execute(config, tables, options);
    if (report.status == RunStatus::interrupted || report.is_unreachable()) report.go_on = command_to_go_on(line_, report);
    return conclude(report, name_ != "import");
  }

 private:
  RunReport execute(const Config& config, const std::vector<TableConfig>& tables, const RunOptions& options) {
    if (name_ == "import") {
      return import_data(tables, postgres_manager(config), options);
    }
    const auto snowflake = std::make_shared<SnowflakeConnectionManager>(config.snowflake);
    snowflake->set_stop_token(signals_.token());
    if (name_ == "export") {
      RunReport report = export_data(tables, snowflake, options);
      report.logins = snowflake->logins();
      return report;
    }
    return run_data(tables, config.tables, snowflake, postgres_manager(config), options);
  }

  std::shared_ptr<PostgresConnectionManager> postgres_manager(const Config& config) const {
    auto postgres = std::make_shared<PostgresConnectionManager>(config.postgres);
    postgres->set_stop_token(signals_.token());
    return postgres;
  }

  // Of the Parquet files (design D9). Never an argument: ps shows those.
  static std::optional<FilePassword> file_password() {
    const char* password = std::getenv("SNOWMELT_PASSWORD");
    if (password == nullptr || *password == '\0') return std::nullopt;
    return Secret(password);
  }

  int conclude(const RunReport& report, bool with_logins) {
    for (const std::string& text : error_texts(report)) print_error(text);
    if (!report.go_on.empty()) {
      const std::string text = "to go on: " + report.go_on;
      display_->print_line(line_.log_format == "json" ? log_line(LogLevel::warning, text, true) : text);
    }
    const int width = ::isatty(STDOUT_FILENO) == 1 ? ProgressDisplay::detect_style().width : std::numeric_limits<int>::max();
    set_log_sink({});  // first: a signal's message would go to the display
    display_.reset();
    const std::string text = line_.json ? report.to_json() + "\n" : summary_text(report, width, with_logins);
    const bool written = Output(STDOUT_FILENO, signals_.token()).write(text);
    // A signal that came when all was done, or when the run had failed already, has stopped nothing.
    if (signals_.received() != 0 && report.status == RunStatus::interrupted) return 128 + signals_.received();
    if (report.exit_code() != 0) return report.exit_code();
    return written ? 0 : static_cast<int>(ErrorKind::file);
  }

  void print_error(const std::string& text) {
    display_->print_line(line_.log_format == "json" ? log_line(LogLevel::error, text, true) : "error: " + text);
  }

  const std::string name_;
  CommandLine line_;
  SignalStop& signals_;
  std::unique_ptr<ProgressDisplay> display_;
};

int run_login(const CommandLine& line, const SignalStop& signals) {
  set_log_sink([&line, &signals](LogLevel level, std::string_view message) {
    if (level >= (line.verbose ? LogLevel::debug : LogLevel::warning))
      Output(STDERR_FILENO, signals.token()).write(log_line(level, message, line.log_format == "json") + "\n");
  });
  const std::string text = login(configuration(line).snowflake, {.check = line.check, .json = line.json}, signals.token());
  return Output(STDOUT_FILENO, signals.token()).write(text) ? 0 : static_cast<int>(ErrorKind::file);
}

int print_types(const SignalStop& signals) {
  return Output(STDOUT_FILENO, signals.token()).write(type_table_markdown()) ? 0 : static_cast<int>(ErrorKind::file);
}

void add_common_options(CLI::App& command, CommandLine& line, const char* json_help) {
  command.add_option("--config", line.config_file, "configuration file (default: snowmelt.toml here)");
  command.add_flag("--json", line.json, json_help);
  command.add_option("--log-format", line.log_format, "text or json, on stderr")
      ->check(CLI::IsMember({"text", "json"}))
      ->capture_default_str();
  command.add_flag("--verbose", line.verbose, "log more");
}

void add_run_options(CLI::App& command, CommandLine& line) {
  command.add_option("--table", line.tables, "only this table; may be repeated")->allow_extra_args(false);
  command.add_option("--directory", line.directory, "where the Parquet files lie (default: [export] directory)");
  command
      .add_option("--wait", line.wait,
                  "how long to wait for another run in the export directory or at the target: 30s, 10m, 1h; 0: not at all "
                  "(default: [postgres] wait)")
      ->type_name("DURATION")
      ->check([](const std::string& text) {
        return parse_duration(text) ? std::string() : fmt::format("\"{}\" is not a duration: {}", text, kDurationForms);
      });
  command.add_option("--jobs", line.jobs, "tables exported at the same time")->check(CLI::Range(1, 64))->capture_default_str();
  add_common_options(command, line, "the report as JSON on stdout");
}

// Started with 0, 1 or 2 closed, the next file that is opened gets that number, and what is printed gets into it. Opened the
// wrong way round, they still refuse what is printed.
void keep_standard_descriptors() {
  for (const int standard : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (::fcntl(standard, F_GETFD) != -1 || errno != EBADF) continue;
    if (::open("/dev/null", standard == STDIN_FILENO ? O_WRONLY : O_RDONLY) != standard)
      ::_exit(static_cast<int>(ErrorKind::file));
  }
}

int main_with_errors(int argc, char** argv) {
  CommandLine line;
  CLI::App app("Snowflake tables to Parquet files and into PostgreSQL, with one login for the whole run.", "snowmelt");
  app.footer(kExamples);
  app.require_subcommand(1);
  app.set_version_flag("--version", "snowmelt " SNOWMELT_VERSION);
  for (const auto& [name, text] : {std::pair{"run", "export and import at once: Snowflake -> Parquet -> PostgreSQL"},
                                   std::pair{"export", "Snowflake -> Parquet files; PostgreSQL is not contacted"},
                                   std::pair{"import", "Parquet files -> PostgreSQL; no login to Snowflake"}}) {
    CLI::App& command = *app.add_subcommand(name, text);
    add_run_options(command, line);
    if (std::string_view(name) != "export") {
      command
          .add_option("--load-connections", line.load_connections,
                      "connections that fill one table (default: [postgres] load_connections, or by the cores)")
          ->check(CLI::Range(0, 64));
    }
  }
  CLI::App& login = *app.add_subcommand("login", "log in once, so that the next commands ask nobody while the login is kept");
  login.add_flag("--check", line.check, "ask nobody: only tell whether a kept login serves (exit code 3: it does not)");
  add_common_options(login, line, "what happened as JSON on stdout");
  app.add_subcommand("types", "the table of types: Snowflake, Parquet, PostgreSQL (Markdown)");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : static_cast<int>(ErrorKind::usage);
  }
  const std::string name = app.get_subcommands().front()->get_name();
  for (int i = 0; i < argc; ++i) line.words.emplace_back(argv[i]);
  SignalStop signals;
  int exit_code = 0;
  const bool json = line.json;
  catching(
      [&] {
        exit_code = name == "login"   ? run_login(line, signals)
                    : name == "types" ? print_types(signals)
                                      : Command(name, line, signals)();
      },
      [&](const Error& error) {
        const bool stopped = signals.received() != 0 && error.kind() == ErrorKind::interrupted;
        const Output out(STDOUT_FILENO, signals.token());
        Output(STDERR_FILENO, signals.token()).write(fmt::format("error: {}\n", error.what()));
        if (json && name == "login") {
          out.write(failed_login_json(error) + "\n");
        } else if (json) {  // a script that reads the report gets one, whatever happened
          RunReport report{.run_id = new_run_id(), .error = ReportError::from(error)};
          report.conclude();
          out.write(report.to_json() + "\n");
        }
        exit_code = stopped ? 128 + signals.received() : error.exit_code();
      });
  return exit_code;
}

}  // namespace
}  // namespace snowmelt

int main(int argc, char** argv) {
  snowmelt::keep_standard_descriptors();
  int code = 0;
  snowmelt::catching([&] { code = snowmelt::main_with_errors(argc, argv); },
                     [&](const snowmelt::Error& error) {
                       fmt::print(stderr, "error: {}\n", error.what());
                       code = error.exit_code();
                     });
  return code;
}
