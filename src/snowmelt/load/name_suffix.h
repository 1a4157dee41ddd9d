// Names beside a target's that no other load uses.
#pragma once

#include <fmt/format.h>

#include <random>
#include <string>
#include <utility>

#include "snowmelt/postgres_name.h"

namespace snowmelt {

// "_snowmelt_1f3a9c2e".
inline std::string random_suffix() {
  std::random_device random;
  return fmt::format("_snowmelt_{:08x}", random());
}

// The name is cut so that the suffix fits.
inline std::string with_suffix(std::string name, const std::string& suffix) {
  return cut_at_character(std::move(name), kPostgresNameBytesMax - suffix.size()) + suffix;
}

}  // namespace snowmelt
