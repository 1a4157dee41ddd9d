// Settings between Python and the key table: no key is named here.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/stl/map.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/variant.h>
#include <nanobind/stl/vector.h>

#include <string>
#include <utility>
#include <vector>

#include "snowmelt/keys.h"

namespace snowmelt::python {

namespace nb = nanobind;

// Keyword arguments, or a dict with a section's keys, as snowmelt/_config.py hands them over.
using Keys = std::vector<std::pair<std::string, KeyValue>>;

template <typename Section>
Section with_keys(Section section, const Keys& given) {
  for (const auto& [name, value] : given) set_key(section, name, value);
  return section;
}

// Every key of a section but secrets and empty texts: what with_keys() takes again.
template <typename Section>
nb::dict dict_of(const Section& section) {
  nb::dict out;
  for (const auto& key : keys<Section>()) {
    if (key.type == KeyType::secret) continue;
    const KeyValue value = key.get(section);
    if (value != KeyValue(std::string())) out[nb::str(key.name.data(), key.name.size())] = value;
  }
  return out;
}

}  // namespace snowmelt::python
