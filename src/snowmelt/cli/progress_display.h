// Progress on stderr: lines redrawn in place on a terminal, one line every ten seconds in a pipe.
#pragma once

#include <chrono>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "snowmelt/cli/output.h"
#include "snowmelt/log.h"
#include "snowmelt/pipeline/export_data.h"

namespace snowmelt {

class ProgressDisplay : public RunObserver {
 public:
  // What a row goes through before it is done: `both` counts half a row for each.
  enum class Work { export_, import_, both };
  struct Style {
    bool terminal = false;  // redraw in place
    bool color = false;
    int width = 80;
  };
  // Of stderr: a terminal unless TERM=dumb; colour unless NO_COLOR; the terminal's columns.
  static Style detect_style();

  // After `stop` nobody waits long for a reader of stderr.
  ProgressDisplay(Style style, Work work, const std::stop_token& stop);
  ~ProgressDisplay() override;

  void table_started(size_t index, const TableConfig& table, const std::shared_ptr<const TableProgress>& progress) override;
  void table_finished(size_t index, const TableReport& report) override;

  // A line above the bars, such as a log message.
  void print_line(const std::string& line);

 private:
  struct Active {
    std::string name;
    std::shared_ptr<const TableProgress> progress;
    std::chrono::steady_clock::time_point started;
  };

  void loop(const std::stop_token& stop);
  void erase();
  void draw();
  std::string rows_text(const TableProgress& progress) const;
  std::string bar_line(const Active& table) const;
  std::string plain_line(const Active& table) const;
  std::string painted(const char* sgr, const std::string& text) const;

  Style style_;
  const Work work_;
  const Output stderr_;
  std::mutex mutex_;
  std::condition_variable_any tick_;
  std::map<size_t, Active> active_;
  size_t drawn_lines_ = 0;
  std::jthread thread_;
};

}  // namespace snowmelt
