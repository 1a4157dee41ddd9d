#include "snowmelt/pipeline/run_record.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "snowmelt/error.h"
#include "snowmelt/storage/durable_file.h"

namespace snowmelt {
namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

namespace {

constexpr const char* kFormat = "snowmelt run";
constexpr int kFormatVersion = 1;

std::string sha256_of(const std::string& text) {
  Sha256 digest;
  digest.update(text.data(), text.size());
  return digest.hex();
}

// Held for a few file operations. The file stays, as that of DirectoryLock.
class UpdateLock {
 public:
  explicit UpdateLock(const fs::path& file) : descriptor_(::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666)) {
    if (descriptor_ < 0) throw_file_error("create the lock file", file, errno);
    while (::flock(descriptor_, LOCK_EX) != 0) {
      if (errno == EINTR) continue;
      const int error = errno;
      ::close(descriptor_);
      throw_file_error("lock the file", file, error);
    }
  }
  ~UpdateLock() { ::close(descriptor_); }
  UpdateLock(const UpdateLock&) = delete;
  UpdateLock& operator=(const UpdateLock&) = delete;

 private:
  int descriptor_;
};

std::set<std::string> names_of(const std::vector<TableConfig>& tables) {
  std::set<std::string> names;
  for (const TableConfig& table : tables) names.insert(table.name);
  return names;
}

// An id goes into a list of the ledger's query, and is one of ours.
std::string checked_id(std::string id) {
  const bool plain = !id.empty() && std::all_of(id.begin(), id.end(), [](unsigned char c) {
    return c == '-' || (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
  });
  if (!plain) throw FileError("run.record_damaged", "an export id is none");
  return id;
}

template <typename Tables>
auto* find_table(Tables& tables, const std::string& name) {
  const auto found = std::find_if(tables.begin(), tables.end(), [&](const auto& table) { return table.name == name; });
  return found == tables.end() ? nullptr : &*found;
}

}  // namespace

RunRecord::RunRecord(fs::path directory, std::string run_id)
    : directory_(std::move(directory)), run_id_(std::move(run_id)), found_(read()) {}

fs::path RunRecord::file() const { return directory_ / ".last-run.json"; }

std::string RunRecord::content_of(const TableConfig& table) {
  return sha256_of(table.query.empty() ? "source " + table.name : "query " + table.query);
}

std::vector<std::string> RunRecord::begun_exports(const TableConfig& table) const {
  std::vector<std::string> exports;
  for (const Table& known : found_) {
    if (known.content == content_of(table)) exports.insert(exports.end(), known.exports.begin(), known.exports.end());
  }
  return exports;
}

std::string RunRecord::text_of(const Tables& tables) {
  Json list = Json::array();
  for (const Table& table : tables) {
    list.push_back({{"name", table.name},
                    {"target", table.target},
                    {"content", table.content},
                    {"run", table.run},
                    {"last_begun_by", table.last_begun_by},
                    {"done", table.done},
                    {"exports", table.exports}});
  }
  const std::string digest = sha256_of(list.dump());
  return Json{{"format", kFormat}, {"format_version", kFormatVersion}, {"tables", std::move(list)}, {"sha256", digest}}.dump(1) +
         "\n";
}

// Throws nlohmann's exceptions, and FileError where the JSON is not what text_of() makes.
RunRecord::Tables RunRecord::parse(const std::string& text) {
  const Json json = Json::parse(text);
  if (json.at("format") != kFormat || json.at("format_version") != kFormatVersion)
    throw FileError("run.record_damaged", "not this version's format");
  if (json.at("sha256") != sha256_of(json.at("tables").dump())) throw FileError("run.record_damaged", "its digest differs");
  Tables tables;
  for (const Json& entry : json.at("tables")) {
    Table table{.name = entry.at("name"),
                .target = entry.at("target"),
                .content = entry.at("content"),
                .run = entry.at("run"),
                .last_begun_by = entry.at("last_begun_by"),
                .done = entry.at("done"),
                .exports = {}};
    for (const Json& id : entry.at("exports")) table.exports.push_back(checked_id(id));
    tables.push_back(std::move(table));
  }
  return tables;
}

RunRecord::Tables RunRecord::read() const {
  // Missing is usual; what cannot be told to be missing is not.
  if (::access(file().c_str(), F_OK) != 0) {
    if (errno == ENOENT || errno == ENOTDIR) return {};
    throw_file_error("look for the record of the last run", file(), errno);
  }
  std::ifstream in(file(), std::ios::binary);
  if (!in) throw_file_error("open the record of the last run", file(), errno);
  const std::string text{std::istreambuf_iterator<char>(in), {}};
  if (in.bad()) throw_file_error("read the record of the last run", file(), EIO);
  const auto refuse = [&](const std::string& why) {
    throw FileError("run.record_damaged",
                    "the record of the last, unfinished run is damaged (" + why +
                        "), so which tables of mode \"append\" have its rows already is not known",
                    {.where = file().string(),
                     .hint = "look for the last run's rows in those tables, delete the file, and leave out of the next run "
                             "(--table) those that have them"});
  };
  try {
    return parse(text);
  } catch (const Json::exception&) {
    refuse("not the JSON that snowmelt writes");
  } catch (const FileError& error) {
    refuse(error.message());
  }
  return {};
}

void RunRecord::write(const Tables& tables) const {
  if (tables.empty()) {
    if (::unlink(file().c_str()) != 0 && errno != ENOENT) throw_file_error("remove the record of the run", file(), errno);
    sync_directory(directory_);
    return;
  }
  DurableFile durable(directory_ / ".last-run.tmp", file());
  const std::string text = text_of(tables);
  durable.write(text.data(), text.size());
  durable.publish();
}

void RunRecord::update(const std::function<bool(Tables&)>& change) const {
  make_directories(directory_);
  const UpdateLock lock(directory_ / ".last-run.lock");
  Tables tables = read();
  if (change(tables)) write(tables);
}

void RunRecord::begin(const std::vector<TableConfig>& tables) {
  const bool appends =
      std::any_of(tables.begin(), tables.end(), [](const auto& table) { return table.mode == LoadMode::append; });
  if (!appends && found_.empty()) return;
  update([&](Tables& known) {
    const std::set<std::string> names = names_of(tables);
    std::set<std::string> carried_on;
    for (const Table& table : known) {
      if (names.contains(table.name)) carried_on.insert(table.run);
    }
    if (!appends && carried_on.empty()) return false;
    for (Table& table : known) {
      if (carried_on.contains(table.run)) table.run = run_id_;
    }
    for (const TableConfig& table : tables) {
      Table* entry = find_table(known, table.name);
      if (entry == nullptr) entry = &known.emplace_back(Table{.name = table.name});
      if (entry->content != content_of(table)) entry->exports.clear();
      entry->target = table.target;
      entry->content = content_of(table);
      entry->run = entry->last_begun_by = run_id_;
      entry->done = false;
    }
    return begun_ = true;
  });
}

void RunRecord::begin_export(const TableConfig& table, const std::string& export_id) {
  if (table.mode != LoadMode::append) return;
  update([&](Tables& known) {
    Table* entry = find_table(known, table.name);
    if (entry == nullptr) {  // a run at the same time has finished the table
      entry =
          &known.emplace_back(Table{.name = table.name, .target = table.target, .content = content_of(table), .run = run_id_});
      entry->last_begun_by = run_id_;
    }
    entry->exports.push_back(checked_id(export_id));
    return true;
  });
}

void RunRecord::finish(const std::vector<TableConfig>& tables, const std::vector<bool>& done,
                       const std::vector<TableConfig>& configured) {
  if (!begun_) return;
  update([&](Tables& known) {
    std::set<std::string> runs;
    for (size_t i = 0; i < tables.size(); ++i) {
      Table* entry = find_table(known, tables[i].name);
      if (entry == nullptr) continue;
      runs.insert(entry->run);
      if (entry->last_begun_by == run_id_) entry->done = done[i];
    }
    const std::set<std::string> names = names_of(configured);
    std::erase_if(known,
                  [&](const Table& table) { return runs.contains(table.run) && !table.done && !names.contains(table.name); });
    for (const std::string& run : runs) {
      const bool over =
          std::all_of(known.begin(), known.end(), [&](const Table& table) { return table.run != run || table.done; });
      if (over) std::erase_if(known, [&](const Table& table) { return table.run == run; });
    }
    return true;
  });
}

}  // namespace snowmelt
