// Ctrl-C and friends: the first one stops the run in order, the second one at once.
#pragma once

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <stop_token>
#include <thread>

namespace snowmelt {

// Blocks SIGINT, SIGTERM and SIGHUP (unless nohup ignores it) for the process: build it before any other thread. The thread that
// receives them does nothing else, so a second signal ends the process whatever the first one's work waits for. That work, the
// stop callbacks, has a thread of its own.
class SignalStop {
 public:
  SignalStop();
  ~SignalStop();
  SignalStop(const SignalStop&) = delete;
  SignalStop& operator=(const SignalStop&) = delete;

  std::stop_token token() const { return stop_.get_token(); }
  // The signal that stopped the run, 0 for none.
  int received() const { return received_; }

 private:
  void receive(const std::stop_token& ending);
  void stop_work(const std::stop_token& ending);

  std::stop_source stop_;
  std::atomic<int> received_{0};
  std::mutex mutex_;
  std::condition_variable_any arrived_;  // a signal
  std::jthread stopper_;
  std::jthread receiver_;
};

}  // namespace snowmelt
