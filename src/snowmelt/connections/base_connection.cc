#include "snowmelt/connections/base_connection.h"

#include <utility>

#include "snowmelt/error.h"

namespace snowmelt {

std::vector<Row> Cursor::fetchmany(size_t count) {
  std::vector<Row> rows;
  while (rows.size() < count) {
    std::optional<Row> row = fetchone();
    if (!row) break;
    rows.push_back(std::move(*row));
  }
  return rows;
}

std::vector<Row> Cursor::fetchall() { return fetchmany(SIZE_MAX); }

std::shared_ptr<Connection> BaseConnectionManager::get_connection() {
  Lock lock(mutex_);
  while (true) {
    if (closed_) {
      throw UsageError("connection.closed", "the connection manager is closed",
                       {.hint = "get the connection inside the manager's scope, or make a new manager"});
    }
    if (busy_ == Busy::no) break;
    const bool awaits_opening = busy_ == Busy::opening;
    const uint64_t awaited = openings_;
    changed_.wait(lock, [&] { return busy_ == Busy::no || openings_ != awaited || closed_; });
    if (awaits_opening && openings_ == awaited + 1 && opening_failed_ && !closed_) {
      // A copy: each thread adds its own context to the error it got.
      throw_error(opening_failed_->kind(), opening_failed_->code(), opening_failed_->message(), opening_failed_->facts());
    }
  }
  if (std::shared_ptr<Connection> connection = usable(lock)) return connection;
  return open_once(lock);
}

// The present connection if it is alive. Otherwise it is given up, `busy_` says opening, and null is returned.
std::shared_ptr<Connection> BaseConnectionManager::usable(Lock& lock) {
  if (connection_ && connection_->is_open()) {
    const std::shared_ptr<Connection> connection = connection_;
    const bool fresh = std::chrono::steady_clock::now() - last_used_ < idle_before_ping_;
    if (fresh || answers(lock, connection, /*pass_network_errors=*/true)) {
      last_used_ = std::chrono::steady_clock::now();
      return connection;
    }
  }
  busy_ = Busy::opening;
  if (connection_) give_up_lost(lock);
  return nullptr;
}

// Pings without the lock; close() waits for the end of it, since a connection serves one thread at a time.
bool BaseConnectionManager::answers(Lock& lock, const std::shared_ptr<Connection>& connection, bool pass_network_errors) {
  busy_ = Busy::pinging;
  lock.unlock();
  bool alive = false;
  std::exception_ptr network_down;
  try {
    alive = ping(*connection);
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::connection && !error.connection_lost()) network_down = std::current_exception();
  } catch (...) {
    alive = false;
  }
  lock.lock();
  busy_ = Busy::no;
  changed_.notify_all();
  if (network_down && pass_network_errors) std::rethrow_exception(network_down);
  return alive;
}

void BaseConnectionManager::give_up_lost(Lock& lock) {
  const std::shared_ptr<Connection> lost = connection_;
  lock.unlock();
  try {
    before_reconnect(*lost);
  } catch (...) {
    lock.lock();
    busy_ = Busy::no;  // the lost connection stays: the caller has to see to its work first
    changed_.notify_all();
    throw;
  }
  lock.lock();
  const bool still_ours = connection_ == lost;  // close() may have taken it meanwhile
  connection_.reset();
  lock.unlock();
  if (still_ours) dispose(*lost);
  lock.lock();
}

std::shared_ptr<Connection> BaseConnectionManager::open_once(Lock& lock) {
  std::shared_ptr<Connection> opened;
  std::optional<Error> failed;
  std::exception_ptr thrown;
  const bool wanted = !closed_;  // close() may have come while the lost connection was given up
  lock.unlock();
  try {
    if (wanted) opened = open();
  } catch (const Error& error) {
    failed = error;
    thrown = std::current_exception();
  } catch (const std::exception& error) {
    failed = BugError("connection.open_failed", error.what());
    thrown = std::current_exception();
  }
  lock.lock();
  busy_ = Busy::no;
  ++openings_;
  opening_failed_ = failed;
  if (opened) ++connections_opened_;
  const bool too_late = closed_;
  if (!too_late && opened) {
    connection_ = opened;
    last_used_ = std::chrono::steady_clock::now();
  }
  changed_.notify_all();
  if (thrown) std::rethrow_exception(thrown);
  if (too_late) {
    lock.unlock();
    if (opened) dispose(*opened);
    throw UsageError("connection.closed", "the connection manager was closed while its connection was being opened");
  }
  return opened;
}

bool BaseConnectionManager::is_alive() {
  Lock lock(mutex_);
  changed_.wait(lock, [&] { return busy_ != Busy::pinging; });
  // While one is being opened there is none yet.
  if (closed_ || busy_ == Busy::opening || !connection_ || !connection_->is_open()) return false;
  const std::shared_ptr<Connection> connection = connection_;
  const bool alive = answers(lock, connection, /*pass_network_errors=*/false);
  // What did not answer now is asked again by the next get_connection(), however short the time since.
  last_used_ = alive ? std::chrono::steady_clock::now() : std::chrono::steady_clock::time_point{};
  return alive;
}

void BaseConnectionManager::close() noexcept {
  std::shared_ptr<Connection> connection;
  {
    Lock lock(mutex_);
    if (closed_) return;
    closed_ = true;
    changed_.notify_all();
    changed_.wait(lock, [&] { return busy_ != Busy::pinging; });
    connection = std::move(connection_);
    connection_.reset();
  }
  if (connection) dispose(*connection);
}

void BaseConnectionManager::set_stop_token(std::stop_token stop) {
  const Lock lock(mutex_);
  stop_ = std::move(stop);
}

std::stop_token BaseConnectionManager::stop_token() const {
  const Lock lock(mutex_);
  return stop_;
}

std::shared_ptr<Connection> BaseConnectionManager::current_connection() const {
  Lock lock(mutex_);
  return connection_;
}

}  // namespace snowmelt
