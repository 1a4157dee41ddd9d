#include "snowmelt/cli/signals.h"

#include <signal.h>
#include <unistd.h>

#include <ctime>

#include "snowmelt/log.h"

namespace snowmelt {
namespace {

sigset_t stopping_signals() {
  sigset_t set;
  sigemptyset(&set);
  for (int signal : {SIGINT, SIGTERM}) sigaddset(&set, signal);
  // nohup ignores SIGHUP for us: the run is meant to outlive its terminal.
  struct sigaction hangup {};
  if (sigaction(SIGHUP, nullptr, &hangup) == 0 && hangup.sa_handler != SIG_IGN) sigaddset(&set, SIGHUP);
  return set;
}

}  // namespace

SignalStop::SignalStop() {
  const sigset_t set = stopping_signals();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  // A reader of our output that went away shows as a failed write, not as death in the middle of a COPY.
  ::signal(SIGPIPE, SIG_IGN);
  stopper_ = std::jthread([this](const std::stop_token& ending) { stop_work(ending); });
  receiver_ = std::jthread([this](const std::stop_token& ending) { receive(ending); });
}

SignalStop::~SignalStop() = default;

void SignalStop::receive(const std::stop_token& ending) {
  const sigset_t set = stopping_signals();
  const timespec tick{.tv_sec = 0, .tv_nsec = 100'000'000};
  while (!ending.stop_requested()) {
    const int signal = sigtimedwait(&set, nullptr, &tick);
    if (signal <= 0) continue;
    if (received_ != 0) ::_exit(128 + signal);
    const std::lock_guard lock(mutex_);
    received_ = signal;
    arrived_.notify_all();
  }
}

void SignalStop::stop_work(const std::stop_token& ending) {
  {
    std::unique_lock lock(mutex_);
    if (!arrived_.wait(lock, ending, [this] { return received_ != 0; })) return;
  }
  stop_.request_stop();  // first: what is printed may wait for a reader
  log(LogLevel::warning, "stopping: tables that are done stay, of the others nothing does (a second signal ends at once)");
}

}  // namespace snowmelt
