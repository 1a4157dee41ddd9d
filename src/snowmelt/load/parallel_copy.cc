#include "snowmelt/load/parallel_copy.h"

#include <exception>
#include <mutex>
#include <stop_token>
#include <thread>

#include "snowmelt/error.h"

namespace snowmelt {
namespace {

CopyCount copy_until_stopped(PostgresConnection& connection, const std::string& copy_sql, const EncodeJob& job,
                             const std::stop_token& failed) {
  EncoderThread encoder(job);
  const auto stream = connection.copy_in(copy_sql);
  stream->write(CopyEncoder::header());
  while (auto buffer = encoder.next()) {
    if (failed.stop_requested()) throw Interrupted("load.stopped", "another connection of this load has failed");
    stream->write(buffer->bytes());
    if (job.options.progress != nullptr) job.options.progress->bytes_loaded += static_cast<int64_t>(buffer->size());
    encoder.recycle(std::move(buffer));
  }
  stream->write(CopyEncoder::trailer());
  const int64_t counted = stream->finish();
  return {encoder.rows(), counted};
}

}  // namespace

CopyCount copy_parts(PostgresConnection& connection, const std::string& copy_sql, const EncodeJob& job) {
  return copy_until_stopped(connection, copy_sql, job, {});
}

CopyCount copy_parts_in_parallel(const std::vector<std::shared_ptr<PostgresConnection>>& connections, const std::string& copy_sql,
                                 const EncodeJob& job) {
  std::mutex mutex;  // of what follows
  CopyCount sum;
  std::exception_ptr error;
  std::stop_source failed;
  {
    std::vector<std::jthread> threads;
    for (const auto& connection : connections) {
      threads.emplace_back([&, connection] {
        try {
          const std::stop_callback cancel(job.options.stop, [&] { connection->cancel(); });
          connection->begin();
          const CopyCount count = copy_until_stopped(*connection, copy_sql, job, failed.get_token());
          connection->commit();
          const std::lock_guard lock(mutex);
          sum.sent += count.sent;
          sum.counted += count.counted;
        } catch (...) {
          {
            const std::lock_guard lock(mutex);
            if (!error) error = std::current_exception();
          }
          failed.request_stop();
          job.parts.stop();
        }
      });
    }
  }
  for (const auto& connection : connections) {
    if (error && connection->is_open() && connection->in_transaction()) {
      try {
        connection->rollback();
      } catch (const std::exception&) {  // it is closed next, which does the same
      }
    }
  }
  if (error) std::rethrow_exception(error);
  return sum;
}

}  // namespace snowmelt
