#include "trainer/checkpoint/layout.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "base/error.h"
#include "trainer/checkpoint/checkpoint.h"

namespace terse {
namespace layout {
namespace {
constexpr std::string_view kStep = "step-";
constexpr std::string_view kTemporary = ".tmp-";
constexpr std::string_view kDeleted = ".del-";
}  // namespace

std::string checkpoints(const std::string& run) {
  return run + "/checkpoints";
}
std::string step_name(int64_t step) {
  return fmt::format("{}{:08}", kStep, step);
}
std::string temporary_name(int64_t step) {
  return fmt::format("{}{}", kTemporary, step_name(step));
}
std::string rank_file(int64_t rank) {
  return fmt::format("rank-{:05}.safetensors", rank);
}

std::vector<int64_t> steps(const std::string& checkpoints) {
  std::vector<int64_t> found;
  if (!FileSystem::real().exists(checkpoints)) return found;
  for (const std::string& name : FileSystem::real().list(checkpoints)) {
    int64_t step = 0;
    if (!name.starts_with(kStep)) continue;
    const auto [end, error] =
        std::from_chars(name.data() + kStep.size(), name.data() + name.size(), step);
    if (error == std::errc() && end == name.data() + name.size()) found.push_back(step);
  }
  std::sort(found.rbegin(), found.rend());
  return found;
}

void remove_old(FileSystem& fs, const std::string& checkpoints, int64_t saved, int64_t keep) {
  int64_t kept = 0;
  for (const int64_t step : steps(checkpoints)) {
    if (step <= saved && (keep <= 0 || ++kept <= keep)) continue;
    const std::string name = step_name(step);
    const std::string gone = fmt::format("{}/{}{}", checkpoints, kDeleted, name);
    // Half a deletion must not look like a checkpoint.
    fs.rename(fmt::format("{}/{}", checkpoints, name), gone);
    fs.remove_all(gone);
  }
}

}  // namespace layout

void remove_unfinished_checkpoints(FileSystem& fs, const std::string& run) {
  const std::string folder = layout::checkpoints(run);
  if (!fs.exists(folder)) return;
  for (const std::string& name : fs.list(folder))
    if (name.starts_with(layout::kTemporary) || name.starts_with(layout::kDeleted))
      fs.remove_all(fmt::format("{}/{}", folder, name));
}

}  // namespace terse
