#include "export/folder.h"

#include <unistd.h>

#include "base/error.h"

namespace terse {

void write_folder(FileSystem& fs, const std::string& folder,
                  const std::function<void(const std::string& temporary)>& fill) {
  if (fs.exists(folder) && !fs.list(folder).empty())
    fail(ExitCode::usage, "{}: exists and is not empty; choose another --out or remove it", folder);
  const std::string temporary = fmt::format("{}.tmp.{}", folder, ::getpid());
  try {
    fs.make_directories(temporary);
    fill(temporary);
    fs.rename(temporary, folder);  // replaces an empty folder
  } catch (...) {
    try {
      fs.remove_all(temporary);
    } catch (const Error&) {  // the first failure is the one to report
    }
    throw;
  }
  fs.sync_directory(directory_of(folder));
}

}  // namespace terse
