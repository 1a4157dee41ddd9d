// Work that may wait for a network: done on a thread of its own, so that the caller can wait without the GIL and notice Ctrl-C.
#pragma once

#include <nanobind/nanobind.h>

#include <chrono>
#include <condition_variable>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <type_traits>

namespace snowmelt::python {

namespace nb = nanobind;

// Log messages and login prompts wait in a queue until a thread that holds the GIL delivers them: a log call inside the engine
// must never wait for the GIL.
void install_log_queue();
void deliver_messages();

struct Nothing {};

template <typename Result>
struct BlockingState {
  std::mutex mutex;
  std::condition_variable changed;
  bool done = false;
  std::optional<Result> result;
  std::exception_ptr error;

  bool wait(std::chrono::milliseconds time) {
    std::unique_lock lock(mutex);
    return changed.wait_for(lock, time, [&] { return done; });
  }
};

// Runs `work` (which owns all it touches, and nothing of Python) and returns its result or throws its error. A Python signal
// handler that raises (Ctrl-C) calls `stop`, waits a moment for the work to end, and otherwise leaves it behind.
template <typename Work>
auto blocking(Work work, std::function<void()> stop = {}) {
  using Returned = std::invoke_result_t<Work&>;
  using Result = std::conditional_t<std::is_void_v<Returned>, Nothing, Returned>;
  const auto state = std::make_shared<BlockingState<Result>>();
  std::thread([state, work = std::optional<Work>(std::move(work))]() mutable {
    std::optional<Result> result;
    std::exception_ptr error;
    try {
      if constexpr (std::is_void_v<Returned>) {
        (*work)();
        result.emplace();
      } else {
        result.emplace((*work)());
      }
    } catch (...) {
      error = std::current_exception();
    }
    work.reset();
    const std::lock_guard lock(state->mutex);
    state->result = std::move(result);
    state->error = std::move(error);
    state->done = true;
    state->changed.notify_all();
  }).detach();

  constexpr std::chrono::milliseconds kTick{50}, kGrace{700};
  for (bool done = false; !done;) {
    {
      nb::gil_scoped_release released;
      done = state->wait(kTick);
    }
    deliver_messages();
    if (!done && PyErr_CheckSignals() != 0) {
      nb::python_error interrupted;
      {
        nb::gil_scoped_release released;
        if (stop) std::thread(std::move(stop)).detach();  // it may use the network itself
        state->wait(kGrace);
      }
      deliver_messages();
      throw interrupted;
    }
  }
  if (state->error) std::rethrow_exception(state->error);
  if constexpr (!std::is_void_v<Returned>) return std::move(*state->result);
}

}  // namespace snowmelt::python
