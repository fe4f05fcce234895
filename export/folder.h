// A folder of files that comes to be whole or not at all.
#pragma once
#include <functional>
#include <string>

#include "base/file_system.h"

namespace terse {

// `fill` writes into the folder whose path it gets, a temporary one beside `folder`, which is then
// renamed. Error(usage) if `folder` exists and is not empty; after any failure nothing is left.
void write_folder(FileSystem& fs, const std::string& folder,
                  const std::function<void(const std::string& temporary)>& fill);

}  // namespace terse
