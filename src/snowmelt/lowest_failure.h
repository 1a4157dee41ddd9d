// Which failure to tell of those that several threads meet in one table: not the first in time, but that of the lowest place.
#pragma once

#include <cstdint>
#include <exception>
#include <utility>

#include "snowmelt/error.h"

namespace snowmelt {

// After a value error the places below it are finished, because one of them may hold an offender too; those above are not begun.
// Any other kind (a lost connection, an interrupt, a short chunk) ends all at once and is what is told, unless its place lies
// above a value error's. The owner guards it with a mutex of his own.
class LowestFailure {
 public:
  // Of an error that has no place in the table: it lies below all of them.
  static constexpr int64_t kNowhere = -1;

  // `place` is a unit's number or a row. Whether this is now the failure to tell.
  bool add(std::exception_ptr error, int64_t place) {
    if (ends_all_ || (error_ && place >= place_)) return false;
    ends_all_ = !is_value_error(error);
    error_ = std::move(error);
    place_ = place;
    return true;
  }

  explicit operator bool() const { return error_ != nullptr; }
  // Nothing is worth finishing.
  bool ends_all() const { return ends_all_; }
  // Whether what happens there can still change what is told.
  bool matters(int64_t place) const { return !error_ || (!ends_all_ && place < place_); }
  // With a failure only.
  int64_t place() const { return place_; }
  const std::exception_ptr& error() const { return error_; }

 private:
  static bool is_value_error(const std::exception_ptr& error) {
    try {
      std::rethrow_exception(error);
    } catch (const Error& known) {
      return known.kind() == ErrorKind::value;
    } catch (...) {
      return false;
    }
  }

  std::exception_ptr error_;
  int64_t place_ = 0;
  bool ends_all_ = false;
};

}  // namespace snowmelt
