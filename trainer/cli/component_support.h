// What the parts of `terse lab` and `terse bench` share.
#pragma once
#include <fmt/format.h>

#include <string>
#include <vector>

#include "trainer/bench/core/bench_result.h"
#include "trainer/cli/arguments.h"
#include "trainer/recipe/document.h"

namespace terse {

// "key=value" with the value quoted as text, in front of the user's own sets, which win.
inline std::vector<std::string> with_set(const std::string& key, const std::string& value,
                                         const std::vector<std::string>& sets) {
  std::vector<std::string> all = {key + "=" + toml_text(value)};
  all.insert(all.end(), sets.begin(), sets.end());
  return all;
}

inline void print_written(const CommonArguments& common, const std::string& path) {
  if (common.json)
    fmt::print("{{\"out\": {}}}\n", toml_text(path));  // TOML and JSON quote alike
  else
    fmt::print("{}\n", path);
}

inline void print_bench(const CommonArguments& common, const BenchMachine& machine,
                        const std::vector<BenchResult>& results) {
  if (common.json)
    fmt::print("{}\n", bench_json(machine, results));
  else
    fmt::print("{}", bench_table(results));
}

inline int bench_threads(const CommonArguments& common) {
  constexpr int kDefaultThreads = 2;  // what the documented figures were taken with
  return common.threads == 0 ? kDefaultThreads : static_cast<int>(common.threads);
}

}  // namespace terse
