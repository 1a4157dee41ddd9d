// What postgresql_data_loader.h declares, for a caller that waits for the directory.
#pragma once

#include "snowmelt/load/postgresql_data_loader.h"
#include "snowmelt/storage/directory_lock.h"

namespace snowmelt {

// As open_part_source() without `wait`, which does not wait: an export's directory is locked once no other run exports into it.
std::unique_ptr<PartSource> open_part_source(const std::filesystem::path& path, const std::optional<FilePassword>& password,
                                             const LockWait& wait);

}  // namespace snowmelt
