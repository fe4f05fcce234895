// What the parts of `terse lab` and `terse bench` share.
#pragma once
#include <fmt/format.h>

#include <string>
#include <vector>

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

template <typename Figures>
void print_figures(const Figures& figures) {
  for (const auto& f : figures)
    fmt::print("{:<30} {:>12.5g} {:<12} {:>8.3f} of {}\n", f.name, f.value, f.unit, f.ratio,
               f.baseline);
}

inline int bench_threads(const CommonArguments& common) {
  constexpr int kDefaultThreads = 2;  // what the documented figures were taken with
  return common.threads == 0 ? kDefaultThreads : static_cast<int>(common.threads);
}

}  // namespace terse
