#include "trainer/run_directory.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <filesystem>

#include "base/error.h"

namespace terse {

std::string create_run(const std::string& wanted, const std::string& recipe_path) {
  FileSystem& fs = FileSystem::real();
  std::string run = wanted;
  if (run.empty()) {
    const std::string name = std::filesystem::path(recipe_path).stem().string();
    for (int n = 1; run.empty() || fs.exists(run); ++n) run = fmt::format("runs/{}-{}", name, n);
  } else if (fs.exists(run) && (!std::filesystem::is_directory(run) || !fs.list(run).empty())) {
    fail(ExitCode::usage,
         "{} exists; go on with it by `terse resume {}`, or choose another folder with --out", run,
         run);
  }
  fs.make_directories(run);
  return run;
}

std::string tokenizer_path(const std::string& run) {
  return run + "/tokenizer.model";
}

bool is_run(const std::string& path) {
  return FileSystem::real().exists(RunFiles{path}.recipe());
}

Recipe recipe_of(const std::string& run, const std::vector<std::string>& sets) {
  if (!is_run(run))
    fail(ExitCode::usage,
         "{} is no run: it has no recipe.resolved.toml; name the folder that "
         "`terse train` printed",
         run);
  return load_recipe(RunFiles{run}.recipe(), sets);
}

std::shared_ptr<Checkpoint> checkpoint_of(const std::string& run, int64_t rank,
                                          std::vector<std::string>* rejected) {
  CheckpointSearch search = newest_checkpoint(run, rank);
  if (rejected != nullptr) *rejected = search.rejected;
  if (!search.found)
    fail(ExitCode::invalid_file, "{} has no checkpoint that verifies{}{}", run,
         search.rejected.empty() ? "" : ": ", fmt::join(search.rejected, "; "));
  return std::move(search.found);
}

}  // namespace terse
