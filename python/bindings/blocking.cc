#include "blocking.h"

#include <nanobind/stl/string.h>

#include <string>
#include <utility>
#include <vector>

#include "snowmelt/connections/snowflake_connection.h"
#include "snowmelt/log.h"

namespace snowmelt::python {
namespace {

struct Message {
  LogLevel level;
  std::string text;
};

std::mutex queue_mutex;
std::vector<Message>& queue() {
  static auto* messages = new std::vector<Message>;  // never destroyed: a thread left behind may log at the end
  return *messages;
}

void enqueue(LogLevel level, std::string text) {
  const std::lock_guard lock(queue_mutex);
  queue().push_back({level, std::move(text)});
}

}  // namespace

void install_log_queue() {
  set_log_sink([](LogLevel level, std::string_view text) { enqueue(level, std::string(text)); });
}

void deliver_messages() {
  std::vector<Message> messages;
  {
    const std::lock_guard lock(queue_mutex);
    if (queue().empty()) return;
    messages.swap(queue());
  }
  constexpr int kPythonLevels[] = {10, 20, 30, 40};
  const nb::object deliver = nb::module_::import_("snowmelt._log").attr("deliver");
  for (const Message& message : messages) deliver(kPythonLevels[static_cast<int>(message.level)], message.text);
}

}  // namespace snowmelt::python
