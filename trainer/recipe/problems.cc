#include <fmt/format.h>

#include <algorithm>
#include <tuple>

#include "base/error.h"
#include "trainer/recipe/document.h"

namespace terse {

void fail_with_problems(std::vector<Problem> problems, const std::string& source) {
  // In the file's order; flags, which have no lines, last.
  std::ranges::stable_sort(problems, {}, [](const Problem& p) {
    return std::tuple(p.place.line == 0, p.place.line, p.place.column);
  });
  std::string text =
      fmt::format("{}: {} problem{}", source, problems.size(), problems.size() == 1 ? "" : "s");
  for (const Problem& p : problems) text += fmt::format("\n  {}: {}", p.place.to_text(), p.message);
  throw Error(ExitCode::usage, text);
}

}  // namespace terse
