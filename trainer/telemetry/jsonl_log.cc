#include "trainer/telemetry/jsonl_log.h"

#include "trainer/telemetry/records.h"

namespace terse {

std::string cut_back(std::string_view text, int64_t last_step) {
  std::string kept;
  while (true) {
    const size_t end = text.find('\n');
    if (end == std::string_view::npos) break;  // what follows the last newline is torn
    const int64_t step = step_of(parse_record(text.substr(0, end)));
    if (step >= 0 && step <= last_step) kept.append(text.substr(0, end + 1));
    text.remove_prefix(end + 1);
  }
  return kept;
}

JsonlLog::JsonlLog(FileSystem& fs, const std::string& path, int64_t last_step) {
  fs.make_directories(directory_of(path));
  if (fs.exists(path)) {
    const std::string kept = last_step == 0 ? "" : cut_back(read_text(path), last_step);
    write_atomically(fs, path, kept);
  }
  file_ = fs.append_to(path);
}

void JsonlLog::write(std::string_view json) {
  std::string line(json);
  line += '\n';
  file_->append(std::as_bytes(std::span(line)));
}

void JsonlLog::sync() {
  file_->sync();
}

}  // namespace terse
