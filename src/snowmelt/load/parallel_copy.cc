#include "snowmelt/load/parallel_copy.h"

#include <exception>
#include <mutex>
#include <optional>
#include <stop_token>
#include <system_error>
#include <thread>

#include "snowmelt/error.h"
#include "snowmelt/load/load_session.h"
#include "snowmelt/lowest_failure.h"

namespace snowmelt {
namespace {

// nullopt when another connection of this load has failed. `failed_row` is set where the rows are at fault.
std::optional<CopyCount> copy_until_dropped(PostgresConnection& connection, const std::string& copy_sql, const EncodeJob& job,
                                            int64_t& failed_row) {
  EncoderThread encoder(job);
  const auto next_buffer = [&] {
    try {
      return encoder.next();
    } catch (...) {
      failed_row = encoder.failed_row();
      throw;
    }
  };
  std::unique_ptr<CopyStream> stream;
  try {
    stream = connection.copy_in(copy_sql);
    stream->write(CopyEncoder::header());
    while (auto buffer = next_buffer()) {
      if (!job.parts.dropped()) {
        stream->write(buffer->bytes());
        if (job.options.progress != nullptr) job.options.progress->bytes_loaded += static_cast<int64_t>(buffer->size());
      }
      encoder.recycle(std::move(buffer));
    }
    if (!job.parts.dropped()) {
      stream->write(CopyEncoder::trailer());
      const int64_t counted = stream->finish();
      return CopyCount{encoder.rows(), counted};
    }
  } catch (...) {
    // The encoder may wait for a part that the exporter has yet to make.
    if (failed_row == LowestFailure::kNowhere) job.parts.drop_from(PartFeed::kEverything);
    if (stream) stream->abandon();
    throw;
  }
  stream->abandon();
  return std::nullopt;
}

}  // namespace

CopyCount copy_parts(PostgresConnection& connection, const std::string& copy_sql, const EncodeJob& job) {
  int64_t failed_row = LowestFailure::kNowhere;
  return copy_until_dropped(connection, copy_sql, job, failed_row).value();  // there is no other connection
}

CopyCount copy_parts_in_parallel(const std::vector<std::shared_ptr<PostgresConnection>>& connections, const std::string& copy_sql,
                                 const EncodeJob& job) {
  std::mutex mutex;  // of what follows
  CopyCount sum;
  LowestFailure failure;
  const auto fail = [&](int64_t failed_row) {  // with the current exception
    const std::lock_guard lock(mutex);
    failure.add(std::current_exception(), failed_row);
    if (failure.ends_all()) job.parts.drop_from(PartFeed::kEverything);
  };
  {
    std::vector<std::jthread> threads;
    try {
      for (const auto& connection : connections) {
        threads.emplace_back([&, connection] {
          int64_t failed_row = LowestFailure::kNowhere;
          try {
            begin_load(*connection);
            const auto count = copy_until_dropped(*connection, copy_sql, job, failed_row);
            if (!count) return;
            commit_aside(*connection);
            const std::lock_guard lock(mutex);
            sum.sent += count->sent;
            sum.counted += count->counted;
          } catch (...) {
            fail(failed_row);
          }
        });
      }
    } catch (const std::system_error&) {  // no thread: those that were started would load the whole table for nothing
      fail(LowestFailure::kNowhere);
    }
  }
  for (const auto& connection : connections) {
    if (failure && connection->is_open() && connection->in_transaction()) {
      try {
        connection->rollback();
      } catch (const std::exception&) {  // it is closed next, which does the same
      }
    }
  }
  if (failure) std::rethrow_exception(failure.error());
  return sum;
}

}  // namespace snowmelt
