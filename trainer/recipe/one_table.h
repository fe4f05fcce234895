// Options of single tables without a recipe: for verbs that take `--set key=value`.
#pragma once
#include <initializer_list>
#include <string>
#include <utility>
#include <vector>

#include "trainer/recipe/recipe_keys.h"

namespace terse {

template <typename Options>
void check_table(const Options& options, Keys& keys) {
  if constexpr (requires { options.check(keys); }) options.check(keys);
}

// The document of `sets`: "key=value" (of the first table) or "table.key=value"; a table that is
// not among `tables` is a problem.
Document document_of_sets(const std::vector<std::string>& sets,
                          const std::vector<std::string>& tables, std::vector<Problem>& problems);

// Applies `sets` to the options of the named tables. Error(usage) with every problem at once.
//   read_sets(sets, std::pair("optim", &optim), std::pair("exchange", &exchange));
template <typename... Options>
void read_sets(const std::vector<std::string>& sets, std::pair<const char*, Options*>... tables) {
  std::vector<Problem> problems;
  const Document document = document_of_sets(sets, {tables.first...}, problems);
  const auto read = [&](const char* name, auto& options) {
    RecipeKeys keys(document, name, problems);
    options.bind(keys);
    keys.report_unknown();
    check_table(options, keys);
  };
  (read(tables.first, *tables.second), ...);
  if (!problems.empty()) fail_with_problems(std::move(problems), document.source);
}

}  // namespace terse
