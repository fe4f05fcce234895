// What exports and imports are measured against, and under the same conditions.
#pragma once
#include <cstdint>
#include <memory>
#include <string>

#include "base/file_system.h"

namespace terse {

// As `cp` does it between two file systems: read() and write(), 256 KiB at a time, no sharing of
// blocks, no sync. A file, or a folder of files into a folder that is made. Returns the bytes.
int64_t copy_plainly(const std::string& from, const std::string& to);

// The real one without its syncs, since cp has none: a file counts as written when the kernel has
// it. Everything else is the same.
std::unique_ptr<FileSystem> unsynced_file_system();

}  // namespace terse
