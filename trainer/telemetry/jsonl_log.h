// An append-only file of one JSON object a line, safe against being killed at any moment.
//
// A line is one write, so that a crash leaves at most one torn line, at the end. Opening cuts the
// file back to the records of steps <= `last_step` (a resumed run's checkpoint) and drops torn
// lines, by an atomic rewrite: no step ever appears twice. Single-threaded.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/file_system.h"

namespace terse {

class JsonlLog {
 public:
  // last_step = 0: a new run; whatever is there is dropped.
  JsonlLog(FileSystem& fs, const std::string& path, int64_t last_step);
  void write(std::string_view json);
  // After this the lines survive a power cut. Call it before a checkpoint is published.
  void sync();

 private:
  std::unique_ptr<WritableFile> file_;
};

// The lines of `text` whose record has a step <= last_step, torn and foreign lines dropped.
std::string cut_back(std::string_view text, int64_t last_step);

}  // namespace terse
