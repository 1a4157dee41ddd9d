// What the Python classes hold of the engine.
#pragma once

#include <nanobind/nanobind.h>
#include <unistd.h>

#include <atomic>
#include <memory>
#include <mutex>
#include <stop_token>
#include <utility>

#include "blocking.h"
#include "snowmelt/connections/postgres_connection.h"
#include "snowmelt/connections/snowflake_connection.h"

namespace snowmelt::python {

// An object with a link to a server, let go without the GIL. A forked child never touches its parent's: closing libpq's half
// there would end the parent's session.
template <typename T>
class Owned {
 public:
  explicit Owned(std::shared_ptr<T> object) : object_(std::move(object)) {}
  Owned(const Owned&) = delete;
  Owned& operator=(const Owned&) = delete;
  ~Owned() {
    if (forked()) {
      new std::shared_ptr<T>(std::move(object_));  // left to the end of the process
    } else if (object_) {
      nb::gil_scoped_release released;
      object_.reset();
    }
  }

  bool forked() const { return pid_ != 0 && pid_ != ::getpid(); }
  // From here on the object belongs to this process. Throws in a forked child of the process it belongs to.
  void claim() {
    if (forked()) {
      throw UsageError("process.forked", "this connection belongs to the process that this one was forked from",
                       {.hint = "make a connection manager in each process", .nothing_sent = true});
    }
    pid_ = ::getpid();
  }
  const std::shared_ptr<T>& operator*() const { return object_; }
  T* operator->() const { return object_.get(); }

 private:
  std::shared_ptr<T> object_;
  pid_t pid_ = 0;
};

class ConnectionHandle {
 public:
  explicit ConnectionHandle(std::shared_ptr<Connection> connection) : connection_(std::move(connection)) { connection_.claim(); }
  std::shared_ptr<Connection> get() {
    connection_.claim();
    return *connection_;
  }
  const Connection* address() const { return (*connection_).get(); }
  bool forked() const { return connection_.forked(); }

 private:
  Owned<Connection> connection_;
};

class ManagerHandle {
 public:
  explicit ManagerHandle(std::shared_ptr<SnowflakeConnectionManager> manager) : manager_(manager), snowflake_(manager.get()) {}
  explicit ManagerHandle(std::shared_ptr<PostgresConnectionManager> manager) : manager_(manager), postgres_(manager.get()) {}

  std::shared_ptr<BaseConnectionManager> get() {
    manager_.claim();
    return *manager_;
  }
  const BaseConnectionManager& peek() const { return **manager_; }
  bool forked() const { return manager_.forked(); }
  SnowflakeConnectionManager* snowflake() const { return snowflake_; }
  PostgresConnectionManager* postgres() const { return postgres_; }

  // One a call of get_connection(): a login that was stopped must not stop the next one.
  std::stop_source fresh_stop() {
    const std::lock_guard lock(mutex_);
    if (stop_.stop_requested()) stop_ = std::stop_source();
    (*manager_)->set_stop_token(stop_.get_token());
    return stop_;
  }

 private:
  Owned<BaseConnectionManager> manager_;
  SnowflakeConnectionManager* snowflake_ = nullptr;
  PostgresConnectionManager* postgres_ = nullptr;
  std::mutex mutex_;
  std::stop_source stop_;
};

// What a user's own Python code raised on a worker's thread, where the engine knows it only as a failure.
class RaisedInPython {
 public:
  void set(const nb::python_error& error) {
    const std::lock_guard lock(mutex_);
    if (!error_) error_ = std::make_shared<nb::python_error>(error);
  }
  void rethrow() const {
    std::shared_ptr<nb::python_error> error;
    {
      const std::lock_guard lock(mutex_);
      error = error_;
    }
    if (error) throw nb::python_error(*error);
  }

 private:
  mutable std::mutex mutex_;
  std::shared_ptr<nb::python_error> error_;
};
using Raised = std::shared_ptr<RaisedInPython>;

// The engine's manager behind a ManagerHandle, or an adapter around any Python object with get_connection and close.
std::shared_ptr<ConnectionManager> manager_of(nb::handle object, Raised raised = std::make_shared<RaisedInPython>());
// The engine's connection behind one of our Python connections, or an adapter.
std::shared_ptr<Connection> connection_of(nb::handle object, Raised raised);

void bind_connections(nb::module_& module);
void bind_cursors(nb::module_& module);
void bind_transfer(nb::module_& module);

}  // namespace snowmelt::python
