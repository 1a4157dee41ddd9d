#include "snowmelt/cli/output.h"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <optional>

namespace snowmelt {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kTickMs = 50;  // how late a stop request is seen
constexpr std::chrono::seconds kStoppedPatience{1};
constexpr size_t kPieceBytes = 4096;  // PIPE_BUF: a pipe that poll(2) calls writable takes as much without waiting

bool is_writable(int descriptor, int wait_ms) {
  pollfd poll_descriptor{.fd = descriptor, .events = POLLOUT, .revents = 0};
  return ::poll(&poll_descriptor, 1, wait_ms) == 1;
}

}  // namespace

bool Output::write(std::string_view text) const {
  std::optional<Clock::time_point> end;
  while (!text.empty()) {
    if (!is_writable(descriptor_, kTickMs)) {
      if (!stop_.stop_requested()) continue;
      if (!end) end = Clock::now() + kStoppedPatience;
      if (Clock::now() >= *end) return false;
      continue;
    }
    const ssize_t wrote = ::write(descriptor_, text.data(), std::min(text.size(), kPieceBytes));
    if (wrote < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (wrote <= 0) return false;  // the reader is gone: the run goes on without it
    text.remove_prefix(static_cast<size_t>(wrote));
  }
  return true;
}

bool Output::ready() const { return is_writable(descriptor_, 0); }

}  // namespace snowmelt
