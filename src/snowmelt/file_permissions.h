// Who may read what snowmelt writes.
#pragma once

#include <sys/types.h>

namespace snowmelt {

// [export] permissions: "private", "group", "umask".
enum class FilePermissions { private_, group, umask };

// Of files and of directories that are made; umask(2) narrows only the last.
constexpr mode_t file_mode(FilePermissions permissions) {
  return permissions == FilePermissions::private_ ? 0600 : permissions == FilePermissions::group ? 0640 : 0666;
}
constexpr mode_t directory_mode(FilePermissions permissions) {
  return permissions == FilePermissions::private_ ? 0700 : permissions == FilePermissions::group ? 0750 : 0777;
}

}  // namespace snowmelt
