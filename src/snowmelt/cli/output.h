// Writing to stdout and stderr, whose reader may be slow, or gone, or not reading.
#pragma once

#include <stop_token>
#include <string_view>
#include <utility>

namespace snowmelt {

class Output {
 public:
  Output(int descriptor, std::stop_token stop) : descriptor_(descriptor), stop_(std::move(stop)) {}

  // Waits for a reader; after a stop request for a second at most. False when something was not written.
  bool write(std::string_view text) const;
  // Whether something can be written without waiting.
  bool ready() const;

 private:
  const int descriptor_;
  const std::stop_token stop_;
};

}  // namespace snowmelt
