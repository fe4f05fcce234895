// Internal: the end of every import.
#pragma once
#include <memory>
#include <string>
#include <utility>

#include "base/error.h"
#include "export/artifact.h"

namespace terse {

// Does `work`; an Error out of it becomes a defect of the file at `path`, which its message names.
template <typename Work>
void blame_file(const std::string& path, const Work& work) {
  try {
    work();
  } catch (const Error& e) {
    fail(ExitCode::invalid_file, "{}: {}", path, e.what());
  }
}

// What was read from `source` at `path`, once it is known to be a whole model.
inline Artifact finished_import(Artifact artifact, std::shared_ptr<const void> source,
                                const std::string& path) {
  artifact.keep = std::move(source);
  blame_file(path, [&] { artifact.validate(); });
  return artifact;
}

}  // namespace terse
