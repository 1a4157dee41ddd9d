// A value that cannot be printed by accident: safety does not depend on remembering.
#pragma once

#include <ostream>
#include <string>
#include <utility>

namespace snowmelt {

class Secret {
 public:
  Secret() = default;
  explicit Secret(std::string value) : value_(std::move(value)) {}

  // The one way to the value; grep for it to see every use.
  const std::string& reveal() const noexcept { return value_; }
  bool empty() const noexcept { return value_.empty(); }
  bool operator==(const Secret&) const = default;

  friend std::ostream& operator<<(std::ostream& out, const Secret& secret) { return out << (secret.empty() ? "" : "***"); }

 private:
  std::string value_;
};

}  // namespace snowmelt
