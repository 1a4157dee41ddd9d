// Ctrl-C and friends: the first one stops the run in order, the second one at once.
#pragma once

#include <stop_token>
#include <thread>

namespace snowmelt {

// Blocks SIGINT, SIGTERM and SIGHUP (unless nohup ignores it) for the process (build it before any other thread) and answers
// them on a thread of its own.
class SignalStop {
 public:
  SignalStop();
  ~SignalStop();

  std::stop_token token() const { return stop_.get_token(); }
  // The signal that stopped the run, 0 for none.
  int received() const { return received_; }

 private:
  void answer(const std::stop_token& ending);

  std::stop_source stop_;
  std::atomic<int> received_{0};
  std::jthread thread_;
};

}  // namespace snowmelt
